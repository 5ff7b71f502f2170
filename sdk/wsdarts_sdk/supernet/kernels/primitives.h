// What the kernels for the CPU share: blocks of channels, a thread's own memory, small matrix
// products on rows of pixels, and how a kernel is called from Python.
//
// Every image tensor is N×H×W×C with the channels adjacent.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <type_traits>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

using Size = std::int64_t;

// Vector registers of the instructions that this is compiled for, and the bytes of one.
#if defined(__AVX512F__)
constexpr int REGISTERS = 32, REGISTER_BYTES = 64;
#elif defined(__AVX__)
constexpr int REGISTERS = 16, REGISTER_BYTES = 32;
#elif defined(__aarch64__)
constexpr int REGISTERS = 32, REGISTER_BYTES = 16;
#else
constexpr int REGISTERS = 16, REGISTER_BYTES = 16;
#endif

// A block of V neighbouring channels: one vector register where the machine has it.
template <class T, int V>
struct Block {
  typedef T type __attribute__((vector_size(V * sizeof(T)), aligned(sizeof(T)), may_alias));
};
template <class T, int V>
using Vec = typename Block<T, V>::type;

template <class T, int V>
inline Vec<T, V>& at(T* place) {
  return *reinterpret_cast<Vec<T, V>*>(place);
}
template <class T, int V>
inline const Vec<T, V>& at(const T* place) {
  return *reinterpret_cast<const Vec<T, V>*>(place);
}

// NaN stays NaN, so that a search that diverges is seen to diverge.
template <class V>
inline V relu(V x) {
  return x < 0 ? V{} : x;
}

// Numbers from the beginning of a cache line: a block that lies across two lines is read twice.
template <class T>
struct OnLines {
  using value_type = T;
  static constexpr std::align_val_t LINE{64};
  OnLines() = default;
  template <class U>
  OnLines(const OnLines<U>&) {}
  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), LINE));
  }
  void deallocate(T* place, std::size_t) { ::operator delete(place, LINE); }
  template <class U>
  bool operator==(const OnLines<U>&) const {
    return true;
  }
  template <class U>
  bool operator!=(const OnLines<U>&) const {
    return false;
  }
};
template <class T>
using Numbers = std::vector<T, OnLines<T>>;

// Memory of one thread that is kept between calls: fresh pages cost more than the arithmetic.
template <class T>
T* scratch(int slot, Size count) {
  static thread_local Numbers<T> kept[8];
  if (static_cast<Size>(kept[slot].size()) < count) kept[slot].resize(count);
  return kept[slot].data();
}

// No exception may leave an iteration of a parallel loop: one without memory is noted, and raised
// after the loop.
struct Shortage {
  std::atomic<bool> noted{false};
  void raise() const {
    if (noted) throw std::bad_alloc();
  }
};

// Nor may one leave the library: 0 if all went well, 1 where there was no memory.
template <class Work>
int completed(const Work& work) noexcept {
  try {
    work();
  } catch (...) {
    return 1;
  }
  return 0;
}

// ------------------------------------------------------------------------------------------
// Small matrix products, on rows of pixels

// y[p][o] = Σ_k a[p][k] · b[k][o], for P pixels and B blocks of V outputs.
template <class T, int V, int P, int B>
inline void product_tile(const T* a, Size a_pitch, const T* b, Size outputs, T* y, Size y_pitch,
                         Size depth) {
  Vec<T, V> sum[P][B] = {};
  for (Size k = 0; k < depth; ++k) {
    Vec<T, V> weights[B];
    for (int j = 0; j < B; ++j) weights[j] = at<T, V>(b + k * outputs + j * V);
    for (int i = 0; i < P; ++i)
      for (int j = 0; j < B; ++j) sum[i][j] += a[i * a_pitch + k] * weights[j];
  }
  for (int i = 0; i < P; ++i)
    for (int j = 0; j < B; ++j) at<T, V>(y + i * y_pitch + j * V) = sum[i][j];
}

template <class T, int V, int P, int B>
void product_columns(const T* a, Size a_pitch, const T* b, Size outputs, T* y, Size y_pitch,
                     Size depth, Size pixels) {
  Size p = 0;
  for (; p + P <= pixels; p += P)
    product_tile<T, V, P, B>(a + p * a_pitch, a_pitch, b, outputs, y + p * y_pitch, y_pitch,
                             depth);
  for (; p < pixels; ++p)
    product_tile<T, V, 1, B>(a + p * a_pitch, a_pitch, b, outputs, y + p * y_pitch, y_pitch,
                             depth);
}

// The product for all outputs; `b` is depth × outputs.
template <class T, int V>
void product(const T* a, Size a_pitch, const T* b, T* y, Size y_pitch, Size depth, Size outputs,
             Size pixels) {
  Size o = 0;
  for (; o + 4 * V <= outputs; o += 4 * V)
    product_columns<T, V, 4, 4>(a, a_pitch, b + o, outputs, y + o, y_pitch, depth, pixels);
  for (; o + 2 * V <= outputs; o += 2 * V)
    product_columns<T, V, 6, 2>(a, a_pitch, b + o, outputs, y + o, y_pitch, depth, pixels);
  for (; o + V <= outputs; o += V)
    product_columns<T, V, 8, 1>(a, a_pitch, b + o, outputs, y + o, y_pitch, depth, pixels);
}

// total[o][c] += Σ_p g[p][o] · d[p][c], the weight gradient of a row of pixels.
template <class T, int V, int O, int B>
inline void outer_tile(const T* g, Size g_pitch, const T* d, Size d_pitch, T* total, Size inputs,
                       Size pixels) {
  Vec<T, V> sum[O][B];
  for (int i = 0; i < O; ++i)
    for (int j = 0; j < B; ++j) sum[i][j] = at<T, V>(total + i * inputs + j * V);
  for (Size p = 0; p < pixels; ++p) {
    Vec<T, V> row[B];
    for (int j = 0; j < B; ++j) row[j] = at<T, V>(d + p * d_pitch + j * V);
    for (int i = 0; i < O; ++i)
      for (int j = 0; j < B; ++j) sum[i][j] += g[p * g_pitch + i] * row[j];
  }
  for (int i = 0; i < O; ++i)
    for (int j = 0; j < B; ++j) at<T, V>(total + i * inputs + j * V) = sum[i][j];
}

template <class T, int V, int B>
void outer_columns(const T* g, Size g_pitch, const T* d, Size d_pitch, T* total, Size outputs,
                   Size inputs, Size pixels) {
  Size o = 0;
  for (; o + 4 <= outputs; o += 4)
    outer_tile<T, V, 4, B>(g + o, g_pitch, d, d_pitch, total + o * inputs, inputs, pixels);
  for (; o < outputs; ++o)
    outer_tile<T, V, 1, B>(g + o, g_pitch, d, d_pitch, total + o * inputs, inputs, pixels);
}

template <class T, int V>
void outer(const T* g, Size g_pitch, const T* d, Size d_pitch, T* total, Size outputs,
           Size inputs, Size pixels) {
  Size c = 0;
  for (; c + 4 * V <= inputs; c += 4 * V)
    outer_columns<T, V, 4>(g, g_pitch, d + c, d_pitch, total + c, outputs, inputs, pixels);
  for (; c + 2 * V <= inputs; c += 2 * V)
    outer_columns<T, V, 2>(g, g_pitch, d + c, d_pitch, total + c, outputs, inputs, pixels);
  for (; c + V <= inputs; c += V)
    outer_columns<T, V, 1>(g, g_pitch, d + c, d_pitch, total + c, outputs, inputs, pixels);
}

// sums[c] += Σ_p a[p][c] and products[c] += Σ_p a[p][c] · b[p][c] over a row of pixels.
template <class T, int V>
void row_sums(const T* a, Size a_pitch, const T* b, Size b_pitch, Size channels, Size pixels,
              double* sums, double* products) {
  for (Size c = 0; c < channels; c += V) {
    Vec<T, V> s[4] = {}, q[4] = {};
    Size p = 0;
    for (; p + 4 <= pixels; p += 4)
      for (int i = 0; i < 4; ++i) {
        const Vec<T, V> v = at<T, V>(a + (p + i) * a_pitch + c);
        s[i] += v;
        q[i] += v * at<T, V>(b + (p + i) * b_pitch + c);
      }
    for (; p < pixels; ++p) {
      const Vec<T, V> v = at<T, V>(a + p * a_pitch + c);
      s[0] += v;
      q[0] += v * at<T, V>(b + p * b_pitch + c);
    }
    const Vec<T, V> sum = (s[0] + s[1]) + (s[2] + s[3]), square = (q[0] + q[1]) + (q[2] + q[3]);
    for (int i = 0; i < V; ++i) {
      if (sums) sums[c + i] += sum[i];
      products[c + i] += square[i];
    }
  }
}

template <class T>
void transpose(const T* from, Size rows, Size columns, T* to) {
  for (Size r = 0; r < rows; ++r)
    for (Size c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
}

}  // namespace

// ------------------------------------------------------------------------------------------
// Choice of a template by the number of channels and the size of a kernel

#define WITH_BLOCK(T, CHANNELS, CALL)                       \
  do {                                                      \
    constexpr int WIDEST = REGISTER_BYTES / sizeof(T);      \
    const Size divisor = (CHANNELS);                        \
    if (WIDEST >= 16 && divisor % 16 == 0) {                \
      constexpr int V = std::min(16, WIDEST);               \
      CALL;                                                 \
    } else if (WIDEST >= 8 && divisor % 8 == 0) {           \
      constexpr int V = std::min(8, WIDEST);                \
      CALL;                                                 \
    } else if (WIDEST >= 4 && divisor % 4 == 0) {           \
      constexpr int V = std::min(4, WIDEST);                \
      CALL;                                                 \
    } else if (divisor % 2 == 0) {                          \
      constexpr int V = 2;                                  \
      CALL;                                                 \
    } else {                                                \
      constexpr int V = 1;                                  \
      CALL;                                                 \
    }                                                       \
  } while (0)

#define WITH_KERNEL(K_VALUE, CALL) \
  do {                             \
    if ((K_VALUE) == 3) {          \
      constexpr int K = 3;         \
      CALL;                        \
    } else {                       \
      constexpr int K = 5;         \
      CALL;                        \
    }                              \
  } while (0)

// Threads of every kernel from here on.
extern "C" void set_threads(Size count) {
#ifdef _OPENMP
  omp_set_num_threads(static_cast<int>(count));
#else
  (void)count;
#endif
}
