/* A library for LD_PRELOAD: writes below a directory are counted and recorded, and fail when asked.

   FAULTS_ROOT    the directory; what is elsewhere is left alone
   FAULTS_PLAN    KIND:N[:PATH]: from the N-th change on (counted from 0)
                    full        nothing new can be written (ENOSPC)
                    read-only   nothing can be changed (EROFS)
                    denied      nothing can be changed, opened or listed (EACCES)
                    broken      nothing can be written or flushed (EIO)
                    vanished    PATH is renamed to PATH.gone, once
                    killed      the process ends by SIGKILL
                    memory      no more than PATH further bytes can be allocated, from then on
                    clock       the time of day is PATH seconds later, or earlier if negative
   FAULTS_HAPPENED  a file that is made when that has happened for the first time
   FAULTS_LOG     a file to which each change is added, as a line:
                    NAME INODE OFFSET HEX(PATH) HEX(SECOND PATH) HEX(DATA), with - for nothing

   The variables are read at each call, so that a fork can be given its own. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NEW = 1, CHANGE = 2, FLUSH = 4, LOOK = 8 };
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static long changes = 0;
static int vanished = 0, limited = 0;

#define NEXT(name) static __typeof__(&name) next; if (!next) next = dlsym(RTLD_NEXT, #name)

static void resolve(int directory, const char *name, char *path) {
  char link[64], base[PATH_MAX];
  path[0] = 0;
  if (name && name[0] == '/') { snprintf(path, PATH_MAX, "%s", name); return; }
  if (directory == AT_FDCWD) {
    if (syscall(SYS_getcwd, base, PATH_MAX) < 0) return;
  } else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t n = syscall(SYS_readlink, link, base, PATH_MAX - 1);
    if (n < 0) return;
    base[n] = 0;
  }
  if (name && name[0]) snprintf(path, PATH_MAX, "%s/%s", base, name);
  else snprintf(path, PATH_MAX, "%s", base);
}

static int inside(const char *path) {
  const char *root = getenv("FAULTS_ROOT");
  size_t n = root ? strlen(root) : 0;
  return n && strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static void happened(void) {
  static int told = 0;
  const char *place = getenv("FAULTS_HAPPENED");
  int before = errno;
  if (place && !told)
    syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, place, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
  told = 1;
  errno = before;
}

static void limit_memory(long more) {
  char text[64];
  int file = syscall(SYS_openat, AT_FDCWD, "/proc/self/statm", O_RDONLY);
  ssize_t n = syscall(SYS_read, file, text, sizeof text - 1);
  syscall(SYS_close, file);
  if (n <= 0) return;
  text[n] = 0;
  rlim_t most = (rlim_t)atol(text) * sysconf(_SC_PAGESIZE) + more;
  struct rlimit limit = {most, most};
  if (!setrlimit(RLIMIT_AS, &limit)) happened();
}

static int errno_of(const char *path, int kind) {
  if (!inside(path)) return 0;
  const char *plan = getenv("FAULTS_PLAN");
  long now = kind & LOOK ? changes : changes++;
  if (!plan) return 0;
  const char *colon = strchr(plan, ':');
  if (!colon || now < atol(colon + 1)) return 0;
  const char *rest = strchr(colon + 1, ':');
  if (!strncmp(plan, "full:", 5)) return kind & NEW ? ENOSPC : 0;
  if (!strncmp(plan, "read-only:", 10)) return kind & (NEW | CHANGE) ? EROFS : 0;
  if (!strncmp(plan, "denied:", 7)) return kind & FLUSH ? 0 : EACCES;
  if (!strncmp(plan, "broken:", 7)) return kind & (NEW | FLUSH) ? EIO : 0;
  if (!strncmp(plan, "killed:", 7)) { happened(); kill(getpid(), SIGKILL); }
  if (!strncmp(plan, "memory:", 7) && rest && !limited) {
    limited = 1;
    limit_memory(atol(rest + 1));
  }
  if (!strncmp(plan, "vanished:", 9) && rest && !vanished) {
    char gone[PATH_MAX];
    snprintf(gone, PATH_MAX, "%s.gone", rest + 1);
    vanished = 1;
    if (!syscall(SYS_renameat, AT_FDCWD, rest + 1, AT_FDCWD, gone)) happened();
  }
  return 0;
}

/* Count a change that is about to be made; return the errno with which it fails, or 0. */
static int refusal(const char *path, int kind) {
  int why = errno_of(path, kind);
  if (why) happened();
  return why;
}

static char *hex(char *to, const void *data, size_t n) {
  const unsigned char *from = data;
  if (!n) *to++ = '-';
  for (size_t i = 0; i < n; i++) {
    *to++ = "0123456789abcdef"[from[i] >> 4];
    *to++ = "0123456789abcdef"[from[i] & 15];
  }
  return to;
}

static void record(const char *name, long long inode, long long offset, const char *path,
                   const char *other, const void *data, size_t n) {
  const char *place = getenv("FAULTS_LOG");
  int before = errno;
  if (!place || !inside(path)) return;
  char *line = malloc(256 + 4 * PATH_MAX + 2 * n), *end = line;
  end += sprintf(end, "%s %lld %lld ", name, inode, offset);
  end = hex(end, path, strlen(path)); *end++ = ' ';
  end = hex(end, other, strlen(other)); *end++ = ' ';
  end = hex(end, data, n); *end++ = '\n';
  int file = syscall(SYS_openat, AT_FDCWD, place, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  for (char *at = line; file >= 0 && at < end;) {
    ssize_t done = syscall(SYS_write, file, at, end - at);
    if (done <= 0) break;
    at += done;
  }
  if (file >= 0) syscall(SYS_close, file);
  free(line);
  errno = before;
}

static long long inode_of(int file) {
  struct stat found;
  return fstat(file, &found) ? -1 : (long long)found.st_ino;
}

#define BEGIN pthread_mutex_lock(&lock)
#define END pthread_mutex_unlock(&lock)
#define REFUSE(path, kind, failed) do { \
    int why = refusal(path, kind); \
    if (why) { END; errno = why; return failed; } } while (0)

static int opened(int directory, const char *name, int flags, mode_t mode) {
  char path[PATH_MAX];
  struct stat found;
  BEGIN;
  resolve(directory, name, path);
  int writes = flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR);
  int there = fstatat(directory, name, &found, 0) == 0;
  if (inside(path)) {
    int makes = (flags & O_CREAT && !there);
    REFUSE(path, makes ? NEW : flags & O_TRUNC && writes ? CHANGE : LOOK, -1);
    if (!makes && writes) {
      const char *plan = getenv("FAULTS_PLAN");
      if (plan && !strncmp(plan, "read-only:", 10) && changes >= atol(plan + 10)) {
        happened(); END; errno = EROFS; return -1;
      }
    }
  }
  int file = syscall(SYS_openat, directory, name, flags, mode);
  if (file >= 0 && !there && flags & O_CREAT) record("create", inode_of(file), 0, path, "", "", 0);
  else if (file >= 0 && flags & O_TRUNC) record("truncate", inode_of(file), 0, path, "", "", 0);
  END;
  return file;
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { \
    va_list given; va_start(given, flags); mode = va_arg(given, mode_t); va_end(given); }
int open(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int d, const char *name, int flags, ...) { MODE return opened(d, name, flags, mode); }
int openat64(int d, const char *name, int flags, ...) { MODE return opened(d, name, flags | O_LARGEFILE, mode); }
int creat(const char *name, mode_t mode) { return opened(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

DIR *opendir(const char *name) {
  char path[PATH_MAX];
  NEXT(opendir);
  BEGIN;
  resolve(AT_FDCWD, name, path);
  REFUSE(path, LOOK, NULL);
  END;
  return next(name);
}

static ssize_t wrote(const char *path, int file, const void *data, off_t offset, ssize_t done) {
  if (done > 0) record("write", inode_of(file), offset, path, "", data, done);
  END;
  return done;
}

static off_t place_of(int file) {
  struct stat found;
  if (fcntl(file, F_GETFL) & O_APPEND && !fstat(file, &found)) return found.st_size;
  return lseek(file, 0, SEEK_CUR);
}

ssize_t write(int file, const void *data, size_t n) {
  char path[PATH_MAX];
  BEGIN;
  resolve(file, "", path);
  REFUSE(path, NEW, -1);
  off_t offset = inside(path) ? place_of(file) : 0;
  return wrote(path, file, data, offset, syscall(SYS_write, file, data, n));
}

ssize_t pwrite64(int file, const void *data, size_t n, off64_t offset) {
  char path[PATH_MAX];
  BEGIN;
  resolve(file, "", path);
  REFUSE(path, NEW, -1);
  return wrote(path, file, data, offset, syscall(SYS_pwrite64, file, data, n, offset));
}
ssize_t pwrite(int file, const void *data, size_t n, off_t offset) { return pwrite64(file, data, n, offset); }

ssize_t writev(int file, const struct iovec *parts, int count) {
  ssize_t total = 0;
  for (int i = 0; i < count; i++) {
    ssize_t done = write(file, parts[i].iov_base, parts[i].iov_len);
    if (done < 0) return total ? total : -1;
    total += done;
    if ((size_t)done < parts[i].iov_len) break;
  }
  return total;
}

/* Below the directory these are not there, so that their callers write. */
ssize_t sendfile64(int to, int from, off64_t *offset, size_t n) {
  char path[PATH_MAX];
  resolve(to, "", path);
  if (inside(path)) { errno = EINVAL; return -1; }
  return syscall(SYS_sendfile, to, from, offset, n);
}
ssize_t sendfile(int to, int from, off_t *offset, size_t n) { return sendfile64(to, from, offset, n); }
ssize_t copy_file_range(int from, off64_t *f, int to, off64_t *t, size_t n, unsigned flags) {
  char path[PATH_MAX];
  resolve(to, "", path);
  if (inside(path)) { errno = EXDEV; return -1; }
  return syscall(SYS_copy_file_range, from, f, to, t, n, flags);
}

int ftruncate64(int file, off64_t length) {
  char path[PATH_MAX];
  BEGIN;
  resolve(file, "", path);
  REFUSE(path, NEW, -1);
  int done = syscall(SYS_ftruncate, file, length);
  if (!done) record("truncate", inode_of(file), length, path, "", "", 0);
  END;
  return done;
}
int ftruncate(int file, off_t length) { return ftruncate64(file, length); }

static int flushed(int file, long call) {
  char path[PATH_MAX];
  BEGIN;
  resolve(file, "", path);
  REFUSE(path, FLUSH, -1);
  int done = inside(path) ? 0 : syscall(call, file);
  if (!done) record("flush", inode_of(file), 0, path, "", "", 0);
  END;
  return done;
}
int fsync(int file) { return flushed(file, SYS_fsync); }
int fdatasync(int file) { return flushed(file, SYS_fdatasync); }

#define TWO(name, call, kind, d1, from, d2, to) \
  char one[PATH_MAX], two[PATH_MAX]; \
  BEGIN; \
  resolve(d1, from, one); resolve(d2, to, two); \
  REFUSE(two, kind, -1); \
  int done = call; \
  if (!done) record(name, 0, 0, one, two, "", 0); \
  END; \
  return done

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
  TWO("rename", syscall(SYS_renameat2, a, from, b, to, flags), CHANGE, a, from, b, to);
}
int renameat(int a, const char *from, int b, const char *to) { return renameat2(a, from, b, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
  TWO("link", syscall(SYS_linkat, a, from, b, to, flags), NEW, a, from, b, to);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int symlinkat(const char *from, int b, const char *to) {
  char two[PATH_MAX];
  BEGIN;
  resolve(b, to, two);
  REFUSE(two, NEW, -1);
  END;
  return syscall(SYS_symlinkat, from, b, to);
}
int symlink(const char *from, const char *to) { return symlinkat(from, AT_FDCWD, to); }

#define ONE(name, call, kind, d, at) \
  char path[PATH_MAX]; \
  BEGIN; \
  resolve(d, at, path); \
  REFUSE(path, kind, -1); \
  int done = call; \
  if (!done) record(name, 0, 0, path, "", "", 0); \
  END; \
  return done

int mkdirat(int d, const char *at, mode_t mode) { ONE("mkdir", syscall(SYS_mkdirat, d, at, mode), NEW, d, at); }
int mkdir(const char *at, mode_t mode) { return mkdirat(AT_FDCWD, at, mode); }
int unlinkat(int d, const char *at, int flags) {
  ONE("remove", syscall(SYS_unlinkat, d, at, flags), CHANGE, d, at);
}
int unlink(const char *at) { return unlinkat(AT_FDCWD, at, 0); }
int rmdir(const char *at) { return unlinkat(AT_FDCWD, at, AT_REMOVEDIR); }

static long jump(void) {
  const char *plan = getenv("FAULTS_PLAN");
  if (!plan || strncmp(plan, "clock:", 6) || changes < atol(plan + 6)) return 0;
  const char *rest = strchr(plan + 6, ':');
  if (!rest) return 0;
  happened();
  return atol(rest + 1);
}
int clock_gettime(clockid_t which, struct timespec *now) {
  NEXT(clock_gettime);
  int done = next(which, now);
  if (!done && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += jump();
  return done;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec found;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &found);
  now->tv_sec = found.tv_sec;
  now->tv_usec = found.tv_nsec / 1000;
  return 0;
}
