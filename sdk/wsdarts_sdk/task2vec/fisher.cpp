// The Fisher information of a network's filters, image by image, for the CPU.
//
// The network is a list of operations (struct Operation), which Python writes; batch norm is part
// of the convolutions. One thread computes an image from its pixels to its shares, with all
// backward passes at a time, so that
//
// - the gradient at a convolution's output is sparse where a ReLU or a max pool follows, at the same
//   places for every pass: only those places are multiplied, as lists of a filter's or a position's
//   active entries, with the values of all passes side by side;
// - a row under a kernel is one run of memory (channels last, with padding), so no patch is copied;
// - what is loaded of inputs and weights serves all passes.
//
// It is compiled for one type of numbers, the macro SCALAR: float or double.
//
// Shapes: P passes, T positions of an output, O filters, K weights of a filter.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

using Size = std::int64_t;

#if defined(__AVX512F__)
constexpr int kBytes = 64, kSums = 27;
#elif defined(__AVX__)
constexpr int kBytes = 32, kSums = 12;
#elif defined(__aarch64__)
constexpr int kBytes = 16, kSums = 24;
#else
constexpr int kBytes = 16, kSums = 12;
#endif

template <class T>
constexpr int lanes = kBytes / sizeof(T);
template <class T>
struct Block {
  typedef T type __attribute__((vector_size(kBytes), aligned(sizeof(T)), may_alias));
};
template <class T>
using Vec = typename Block<T>::type;

template <class T>
inline Vec<T> load(const T* place) {
  return *reinterpret_cast<const Vec<T>*>(place);
}
template <class T>
inline void store(T* place, Vec<T> value) {
  *reinterpret_cast<Vec<T>*>(place) = value;
}
template <class T>
inline T total(Vec<T> v, int count = lanes<T>) {
  T sum = 0;
  for (int i = 0; i < count; ++i) sum += v[i];
  return sum;
}

// Vectors of a row that are summed at a time for P passes: as many as there are registers for.
template <int P>
constexpr int kTile = std::max(1, std::min(6, kSums / P));

enum Kind : Size { kConvolution, kRelu, kMaxPool, kAveragePool, kAdd, kMean };

// A result of an operation: H × W × C values with `pad` zeros around.
struct Value {
  Size channels, height, width, pad;
  Size place;     // of its values, in elements; that of its input for a ReLU
  Size gradient;  // of its gradient's values for one pass, in elements
  Size shared;    // its gradient is that of another value, which follows it
  Size users;     // operations that read it

  Size line() const { return (width + 2 * pad) * channels; }
  Size numbers() const { return (height + 2 * pad) * line(); }
  Size offset(Size y, Size x) const { return (y + pad) * line() + (x + pad) * channels; }
  Size positions() const { return height * width; }
};

struct Operation {
  Size kind, input, other, output;
  Size kernel_height, kernel_width, stride_height, stride_width, pad_height, pad_width;
  Size filter;    // its first filter's column of the result
  Size gradient;  // a gradient at the input is wanted
  Size gram;      // squares by the Gram matrix of the patches
  const void* weights;  // O × kernel height × kernel width × inputs
  const void* bias;     // O
  const void* factors;  // of each filter's sum of squares, O
};

template <class T>
struct Packed {
  std::vector<T> forward;   // blocks of 2 vectors of outputs: K × outputs
  std::vector<T> backward;  // kernel rows, blocks of a tile: O × tile
  std::vector<std::int32_t> places;  // of the patch of each position, in the input
};

template <class T>
struct Network {
  Size images, passes, filters, threads;
  Size values, operations, features;
  Size numbers, gradients;  // elements of all values; of all gradients for one pass
  const Value* value;
  const Operation* operation;
  const T* pixels;     // images × H × W × C of value 0
  const T* at_output;  // images × passes × features
  T* result;           // images × filters; of the probe's features, images × features
};

// Memory of one thread.
template <class T>
struct Scratch {
  Size call = 0;  // that it is prepared for
  std::vector<T> values, gradients;
  // Where a gradient is not 0, of each value (by its ReLU) and each operation (by its maxima).
  std::vector<std::vector<std::uint8_t>> active;
  std::vector<std::vector<std::int32_t>> largest;  // of each operation: places of the maxima
  std::vector<Size> map;                           // of each value: whose `active` counts; -1: all
  std::vector<std::uint8_t> begun;                 // of each gradient
  // Active entries of a convolution's output, by position and by filter, and their P values each.
  std::vector<std::int32_t> at_position, position_start, at_filter, filter_start, next;
  std::vector<T> position_values, filter_values;
  std::vector<T> gram, delta;
};

// ------------------------------------------------------------------------------------------
// Forward

template <class T, int Pixels>
void convolve_tile(const T* const* x, const T* w, Size run, Size line, Size rows, const T* bias,
                   Size outputs, T* const* y) {
  constexpr int V = lanes<T>;
  Vec<T> sum[Pixels][2] = {};
  for (Size r = 0; r < rows; ++r) {
    const T* in[Pixels];
    for (int i = 0; i < Pixels; ++i) in[i] = x[i] + r * line;
    for (Size j = 0; j < run; ++j, w += 2 * V) {
      const Vec<T> a = load(w), b = load(w + V);
      for (int i = 0; i < Pixels; ++i) {
        sum[i][0] += in[i][j] * a;
        sum[i][1] += in[i][j] * b;
      }
    }
  }
  for (int b = 0; b < 2; ++b) {
    const Size first = b * V, count = std::min<Size>(V, outputs - first);
    if (count == V) {
      const Vec<T> shift = load(bias + first);
      for (int i = 0; i < Pixels; ++i) store(y[i] + first, sum[i][b] + shift);
    } else {
      for (int i = 0; i < Pixels; ++i)
        for (Size o = 0; o < count; ++o) y[i][first + o] = sum[i][b][o] + bias[first + o];
    }
  }
}

template <class T>
void convolve(const Operation& op, const Packed<T>& packed, const Value& in, const Value& out,
              const T* x, T* y) {
  constexpr int V = lanes<T>;
  const Size run = op.kernel_width * in.channels, depth = op.kernel_height * run;
  const T* w = packed.forward.data();
  for (Size o = 0; o < out.channels; o += 2 * V, w += depth * 2 * V) {
    const Size outputs = std::min<Size>(2 * V, out.channels - o);
    const T* bias = static_cast<const T*>(op.bias) + o;
    const auto tile = [&](auto pixels, Size t) {
      constexpr int count = decltype(pixels)::value;
      const T* from[count];
      T* to[count];
      for (int i = 0; i < count; ++i) {
        from[i] = x + packed.places[t + i];
        to[i] = y + out.offset((t + i) / out.width, (t + i) % out.width) + o;
      }
      convolve_tile<T, count>(from, w, run, in.line(), op.kernel_height, bias, outputs, to);
    };
    Size t = 0;
    for (; t + 8 <= out.positions(); t += 8) tile(std::integral_constant<int, 8>{}, t);
    for (; t + 4 <= out.positions(); t += 4) tile(std::integral_constant<int, 4>{}, t);
    for (; t < out.positions(); ++t) tile(std::integral_constant<int, 1>{}, t);
  }
}

// Call for every position of an output with the part of the window that lies on the input.
template <class Visit>
void windows(const Operation& op, const Value& in, const Value& out, const Visit& visit) {
  for (Size y = 0; y < out.height; ++y)
    for (Size x = 0; x < out.width; ++x) {
      const Size top = y * op.stride_height - op.pad_height;
      const Size left = x * op.stride_width - op.pad_width;
      visit(y, x, std::max<Size>(top, 0), std::min(top + op.kernel_height, in.height),
            std::max<Size>(left, 0), std::min(left + op.kernel_width, in.width));
    }
}

template <class T>
void max_pool(const Operation& op, const Value& in, const Value& out, const T* x, T* y,
              std::vector<std::int32_t>& largest) {
  largest.resize(out.positions() * out.channels);
  std::int32_t* place = largest.data();
  windows(op, in, out, [&](Size oy, Size ox, Size top, Size bottom, Size left, Size right) {
    T* to = y + out.offset(oy, ox);
    const std::int32_t first = in.offset(top, left);
    for (Size c = 0; c < in.channels; ++c) to[c] = x[first + c], place[c] = first + c;
    for (Size i = top; i < bottom; ++i)
      for (Size j = left; j < right; ++j) {
        const std::int32_t here = in.offset(i, j);
        for (Size c = 0; c < in.channels; ++c) {
          const bool more = x[here + c] > to[c];
          place[c] = more ? here + static_cast<std::int32_t>(c) : place[c];
          to[c] = more ? x[here + c] : to[c];
        }
      }
    place += in.channels;
  });
}

template <class T>
void average_pool(const Operation& op, const Value& in, const Value& out, const T* x, T* y) {
  windows(op, in, out, [&](Size oy, Size ox, Size top, Size bottom, Size left, Size right) {
    const T share = T(1) / ((bottom - top) * (right - left));
    T* to = y + out.offset(oy, ox);
    std::fill(to, to + in.channels, T(0));
    for (Size i = top; i < bottom; ++i)
      for (Size j = left; j < right; ++j)
        for (Size c = 0; c < in.channels; ++c) to[c] += share * x[in.offset(i, j) + c];
  });
}

// Call for each row of a value with its first element.
template <class Visit>
void rows(const Value& v, const Visit& visit) {
  for (Size y = 0; y < v.height; ++y) visit(v.offset(y, 0));
}

template <class T>
void forward(const Network<T>& net, const std::vector<Packed<T>>& packed, Size image,
             Scratch<T>& s) {
  T* const base = s.values.data();
  const Value& first = net.value[0];
  const T* pixels = net.pixels + image * first.positions() * first.channels;
  rows(first, [&](Size place) {
    std::copy(pixels, pixels + first.width * first.channels, base + first.place + place);
    pixels += first.width * first.channels;
  });
  for (Size k = 0; k < net.operations; ++k) {
    const Operation& op = net.operation[k];
    const Value &in = net.value[op.input], &out = net.value[op.output];
    T *x = base + in.place, *y = base + out.place;
    if (op.kind == kConvolution) convolve(op, packed[k], in, out, x, y);
    if (op.kind == kMaxPool) max_pool(op, in, out, x, y, s.largest[k]);
    if (op.kind == kAveragePool) average_pool(op, in, out, x, y);
    if (op.kind == kRelu)
      rows(out, [&](Size p) {
        for (Size i = p; i < p + out.width * out.channels; ++i) y[i] = y[i] > 0 ? y[i] : T(0);
      });
    if (op.kind == kAdd) {
      const Value& more = net.value[op.other];
      const T* z = base + more.place;
      for (Size r = 0; r < out.height; ++r) {
        const T *a = x + in.offset(r, 0), *b = z + more.offset(r, 0);
        T* to = y + out.offset(r, 0);
        for (Size i = 0; i < out.width * out.channels; ++i) to[i] = a[i] + b[i];
      }
    }
  }
}

// ------------------------------------------------------------------------------------------
// Backward, P passes at a time

template <class T, int P>
struct Backward {
  const Network<T>& net;
  const std::vector<Packed<T>>& packed;
  Scratch<T>& s;
  T* result;
  static constexpr int V = lanes<T>;

  Size owner(Size v) const {
    while (net.value[v].shared >= 0) v = net.value[v].shared;
    return v;
  }
  T* gradient(Size v) { return s.gradients.data() + P * net.value[owner(v)].gradient; }
  const std::uint8_t* active(Size v) const {
    return s.map[v] < 0 ? nullptr : s.active[s.map[v]].data();
  }

  // The gradient, to add to; zeros before the first.
  T* begin(Size v) {
    T* found = gradient(v);
    if (!s.begun[owner(v)]) std::fill(found, found + P * net.value[v].numbers(), T(0));
    s.begun[owner(v)] = 1;
    return found;
  }

  void run(const T* at_output) {
    std::fill(s.begun.begin(), s.begun.end(), 0);
    std::fill(s.map.begin(), s.map.end(), Size(-1));
    for (Size k = net.operations - 1; k >= 0; --k) {
      const Operation& op = net.operation[k];
      // A value that shares another's gradient shares its zeros, unless it has its own.
      if (op.kind == kMean) mean(op, at_output);
      if (op.kind == kRelu) relu(op);
      if (op.kind == kAdd) {
        branch(op.input, op.output);
        branch(op.other, op.output);
      }
      if (op.kind == kMaxPool) unpool_largest(k);
      if (op.kind == kAveragePool) unpool_average(op);
      if (op.kind == kConvolution) convolution(k);
    }
  }

  void mean(const Operation& op, const T* at_output) {
    const Value& v = net.value[op.input];
    T* to = begin(op.input);
    const T share = T(1) / v.positions();
    for (int p = 0; p < P; ++p)
      for (Size y = 0; y < v.height; ++y)
        for (Size x = 0; x < v.width; ++x) {
          T* here = to + p * v.numbers() + v.offset(y, x);
          for (Size c = 0; c < v.channels; ++c) here[c] += share * at_output[p * v.channels + c];
        }
  }

  void relu(const Operation& op) {
    const Value& v = net.value[op.output];
    const T* z = s.values.data() + v.place;
    const std::uint8_t* before = active(op.output);
    std::vector<std::uint8_t>& now = s.active[op.input];
    now.resize(v.numbers());
    rows(v, [&](Size p) {
      for (Size i = p; i < p + v.width * v.channels; ++i)
        now[i] = (z[i] > 0) & (before ? before[i] : 1);
    });
    s.map[op.input] = op.input;
  }

  void branch(Size to, Size from) {
    if (net.value[to].shared >= 0) {
      s.map[to] = s.map[from];
      return;
    }
    const Value &a = net.value[to], &b = net.value[from];
    const std::uint8_t* wanted = active(from);
    T* sum = begin(to);
    const T* more = gradient(from);
    for (int p = 0; p < P; ++p)
      for (Size y = 0; y < a.height; ++y) {
        T* x = sum + p * a.numbers() + a.offset(y, 0);
        const T* g = more + p * b.numbers() + b.offset(y, 0);
        const std::uint8_t* on = wanted ? wanted + b.offset(y, 0) : nullptr;
        for (Size i = 0; i < a.width * a.channels; ++i) x[i] += !on || on[i] ? g[i] : T(0);
      }
  }

  // Only the places of maxima are written, and noted as active.
  void unpool_largest(Size k) {
    const Operation& op = net.operation[k];
    const Value &in = net.value[op.input], &out = net.value[op.output];
    const std::uint8_t* wanted = active(op.output);
    const bool alone = in.users == 1;
    T* x = alone ? gradient(op.input) : begin(op.input);
    std::uint8_t* on = nullptr;
    if (alone) {
      std::vector<std::uint8_t>& places = s.active[net.values + k];
      places.assign(in.numbers(), 0);
      on = places.data();
      s.map[op.input] = net.values + k;
      s.begun[owner(op.input)] = 1;
    }
    const T* g = gradient(op.output);
    const std::int32_t* place = s.largest[k].data();
    const Size wide = in.numbers(), narrow = out.numbers();
    for (Size y = 0; y < out.height; ++y)
      for (Size i = out.offset(y, 0); i < out.offset(y, 0) + out.width * out.channels; ++i, ++place) {
        if (wanted && !wanted[i]) continue;
        T* to = x + *place;
        if (on && !on[*place]) {
          on[*place] = 1;
          for (int p = 0; p < P; ++p) to[p * wide] = g[p * narrow + i];
        } else {
          for (int p = 0; p < P; ++p) to[p * wide] += g[p * narrow + i];
        }
      }
  }

  void unpool_average(const Operation& op) {
    const Value &in = net.value[op.input], &out = net.value[op.output];
    const std::uint8_t* wanted = active(op.output);
    T* x = begin(op.input);
    const T* g = gradient(op.output);
    windows(op, in, out, [&](Size oy, Size ox, Size top, Size bottom, Size left, Size right) {
      const T share = T(1) / ((bottom - top) * (right - left));
      const Size from = out.offset(oy, ox);
      for (int p = 0; p < P; ++p)
        for (Size i = top; i < bottom; ++i)
          for (Size j = left; j < right; ++j) {
            T* to = x + p * in.numbers() + in.offset(i, j);
            const T* of = g + p * out.numbers() + from;
            for (Size c = 0; c < in.channels; ++c)
              to[c] += !wanted || wanted[from + c] ? share * of[c] : T(0);
          }
    });
  }

  void convolution(Size k) {
    const Operation& op = net.operation[k];
    list(k);
    if (op.gram)
      squares_by_gram(k);
    else
      squares(k);
    if (op.gradient) input_gradient(k);
  }

  // Gather the active entries of an output's gradient.
  void list(Size k) {
    const Operation& op = net.operation[k];
    const Value& out = net.value[op.output];
    const Size positions = out.positions(), filters = out.channels, wide = out.numbers();
    const std::uint8_t* on = active(op.output);
    const T* g = gradient(op.output);
    const Size most = positions * filters;
    if (static_cast<Size>(s.at_position.size()) < most) {
      s.at_position.resize(most), s.at_filter.resize(most);
      s.position_values.resize(most * P), s.filter_values.resize(most * P);
    }
    if (static_cast<Size>(s.position_values.size()) < most * P)
      s.position_values.resize(most * P), s.filter_values.resize(most * P);
    s.position_start.resize(positions + 1);
    s.filter_start.assign(filters + 1, 0);
    std::int32_t count = 0;
    for (Size t = 0; t < positions; ++t) {
      s.position_start[t] = count;
      const Size place = out.offset(t / out.width, t % out.width);
      const std::int32_t first = count;
      if (on) {
        for (Size o = 0; o < filters; ++o) {
          s.at_position[count] = static_cast<std::int32_t>(o);
          count += on[place + o] != 0;
        }
      } else {
        for (Size o = 0; o < filters; ++o) s.at_position[count++] = static_cast<std::int32_t>(o);
      }
      for (std::int32_t n = first; n < count; ++n) {
        const Size o = s.at_position[n];
        ++s.filter_start[o + 1];
        for (int p = 0; p < P; ++p) s.position_values[n * P + p] = g[p * wide + place + o];
      }
    }
    s.position_start[positions] = count;
    for (Size o = 0; o < filters; ++o) s.filter_start[o + 1] += s.filter_start[o];
    if (op.gram) return;
    s.next.assign(s.filter_start.begin(), s.filter_start.end());
    for (Size t = 0; t < positions; ++t)
      for (std::int32_t n = s.position_start[t]; n < s.position_start[t + 1]; ++n) {
        const std::int32_t m = s.next[s.at_position[n]]++;
        s.at_filter[m] = packed[k].places[t];
        for (int p = 0; p < P; ++p) s.filter_values[m * P + p] = s.position_values[n * P + p];
      }
  }

  // Σ over passes and over the elements of a tile of (Σ_n δ_n U_n)².
  template <int N>
  static T squared_tile(const T* x, const std::int32_t* place, const T* delta, Size count, Size width) {
    Vec<T> sum[P][N] = {};
    for (Size n = 0; n < count; ++n, delta += P) {
      const T* row = x + place[n];
      Vec<T> u[N];
      for (int v = 0; v < N; ++v) u[v] = load(row + v * V);
      for (int p = 0; p < P; ++p)
        for (int v = 0; v < N; ++v) sum[p][v] += delta[p] * u[v];
    }
    T found = 0;
    for (int v = 0; v < N; ++v) {
      Vec<T> square = {};
      for (int p = 0; p < P; ++p) square += sum[p][v] * sum[p][v];
      found += total<T>(square, static_cast<int>(std::min<Size>(V, width - v * V)));
    }
    return found;
  }
  template <int N>
  static T squared(Size vectors, const T* x, const std::int32_t* place, const T* delta, Size count,
                   Size width) {
    if constexpr (N > 1)
      if (vectors < N) return squared<N - 1>(vectors, x, place, delta, count, width);
    return squared_tile<N>(x, place, delta, count, width);
  }

  void squares(Size k) {
    const Operation& op = net.operation[k];
    const Value &in = net.value[op.input], &out = net.value[op.output];
    const T* x = s.values.data() + in.place;
    const T* factors = static_cast<const T*>(op.factors);
    const Size run = op.kernel_width * in.channels;
    constexpr Size step = kTile<P> * V;
    for (Size o = 0; o < out.channels; ++o) {
      const Size first = s.filter_start[o], count = s.filter_start[o + 1] - first;
      double sum = 0;
      for (Size r = 0; r < op.kernel_height; ++r)
        for (Size j = 0; j < run; j += step) {
          const Size width = std::min(step, run - j);
          sum += squared<kTile<P>>((width + V - 1) / V, x + r * in.line() + j,
                                   s.at_filter.data() + first, s.filter_values.data() + first * P,
                                   count, width);
        }
      result[op.filter + o] += T(sum * factors[o]);
    }
  }

  // The Gram matrix of the patches is that of all passes and filters.
  void squares_by_gram(Size k) {
    const Operation& op = net.operation[k];
    const Value &in = net.value[op.input], &out = net.value[op.output];
    const T* x = s.values.data() + in.place;
    const T* factors = static_cast<const T*>(op.factors);
    const Size positions = out.positions(), run = op.kernel_width * in.channels;
    const Size wide = (out.channels + V - 1) / V * V;
    s.gram.resize(positions * positions);
    for (Size a = 0; a < positions; a += 4)
      for (Size b = a; b < positions; b += 4) gram_tile(op, in, x, packed[k].places, run, positions, a, b);
    s.delta.assign(P * positions * wide, T(0));
    for (Size t = 0; t < positions; ++t)
      for (Size n = s.position_start[t]; n < s.position_start[t + 1]; ++n)
        for (int p = 0; p < P; ++p)
          s.delta[(p * positions + t) * wide + s.at_position[n]] = s.position_values[n * P + p];
    for (Size o = 0; o < wide; o += V) {
      Vec<T> sum = {};
      for (int p = 0; p < P; ++p) {
        const T* d = s.delta.data() + p * positions * wide + o;
        Size t = 0;
        for (; t + 8 <= positions; t += 8) sum += quadratic<8>(d, wide, t, positions);
        for (; t < positions; ++t) sum += quadratic<1>(d, wide, t, positions);
      }
      for (Size i = 0; i < std::min<Size>(V, out.channels - o); ++i)
        result[op.filter + o + i] += std::max(sum[i], T(0)) * factors[o + i];
    }
  }
  template <int N>
  Vec<T> quadratic(const T* d, Size wide, Size t, Size positions) {
    Vec<T> sum[N] = {};
    for (Size u = 0; u < positions; ++u) {
      const Vec<T> other = load(d + u * wide);
      for (int i = 0; i < N; ++i) sum[i] += s.gram[u * positions + t + i] * other;
    }
    Vec<T> found = {};
    for (int i = 0; i < N; ++i) found += sum[i] * load(d + (t + i) * wide);
    return found;
  }
  void gram_tile(const Operation& op, const Value& in, const T* x,
                 const std::vector<std::int32_t>& places, Size run, Size positions, Size a, Size b) {
    const T *left[4], *right[4];
    for (Size i = 0; i < 4; ++i) {
      left[i] = x + places[std::min(a + i, positions - 1)];
      right[i] = x + places[std::min(b + i, positions - 1)];
    }
    Vec<T> sum[4][4] = {};
    T rest[4][4] = {};
    for (Size r = 0; r < op.kernel_height; ++r) {
      Size j = r * in.line();
      const Size end = j + run;
      for (; j + V <= end; j += V) {
        Vec<T> u[4];
        for (int i = 0; i < 4; ++i) u[i] = load(right[i] + j);
        for (int i = 0; i < 4; ++i) {
          const Vec<T> one = load(left[i] + j);
          for (int m = 0; m < 4; ++m) sum[i][m] += one * u[m];
        }
      }
      for (; j < end; ++j)
        for (int i = 0; i < 4; ++i)
          for (int m = 0; m < 4; ++m) rest[i][m] += left[i][j] * right[m][j];
    }
    for (Size i = 0; i < 4 && a + i < positions; ++i)
      for (Size m = 0; m < 4 && b + m < positions; ++m) {
        const T found = total<T>(sum[i][m]) + rest[i][m];
        s.gram[(a + i) * positions + b + m] = s.gram[(b + m) * positions + a + i] = found;
      }
  }

  // Add Σ_n δ_n W_n to a piece of a row of the input's gradient, for each pass.
  template <int N>
  static void gradient_tile(T* to, Size wide, const T* weights, const std::int32_t* filter,
                            const T* delta, Size count) {
    Vec<T> sum[P][N];
    for (int p = 0; p < P; ++p)
      for (int v = 0; v < N; ++v) sum[p][v] = load(to + p * wide + v * V);
    for (Size n = 0; n < count; ++n, delta += P) {
      const T* row = weights + filter[n] * N * V;
      Vec<T> w[N];
      for (int v = 0; v < N; ++v) w[v] = load(row + v * V);
      for (int p = 0; p < P; ++p)
        for (int v = 0; v < N; ++v) sum[p][v] += delta[p] * w[v];
    }
    for (int p = 0; p < P; ++p)
      for (int v = 0; v < N; ++v) store(to + p * wide + v * V, sum[p][v]);
  }
  template <int N>
  void gradient_row(Size vectors, const Operation& op, const Value& out, const std::int32_t* places,
                    Size y, T* to, Size wide, const T* weights) {
    if constexpr (N > 1)
      if (vectors < N)
        return gradient_row<N - 1>(vectors, op, out, places, y, to, wide, weights);
    for (Size t = y * out.width; t < (y + 1) * out.width; ++t) {
      const Size first = s.position_start[t], count = s.position_start[t + 1] - first;
      if (count)
        gradient_tile<N>(to + places[t], wide, weights, s.at_position.data() + first,
                         s.position_values.data() + first * P, count);
    }
  }

  void input_gradient(Size k) {
    const Operation& op = net.operation[k];
    const Value &in = net.value[op.input], &out = net.value[op.output];
    const Size run = op.kernel_width * in.channels;
    constexpr Size step = kTile<P> * V;
    T* to = begin(op.input);
    for (Size y = 0; y < out.height; ++y) {
      const T* weights = packed[k].backward.data();
      for (Size r = 0; r < op.kernel_height; ++r)
        for (Size j = 0; j < run; j += step) {
          const Size vectors = (std::min(step, run - j) + V - 1) / V;
          gradient_row<kTile<P>>(vectors, op, out, packed[k].places.data(), y,
                                 to + r * in.line() + j, in.numbers(), weights);
          weights += out.channels * vectors * V;
        }
    }
  }
};

// ------------------------------------------------------------------------------------------
// All images

template <class T>
void pack_backward(const Operation& op, const Value& in, const Value& out, Size tile,
                   std::vector<T>& to) {
  constexpr int V = lanes<T>;
  const T* w = static_cast<const T*>(op.weights);
  const Size run = op.kernel_width * in.channels, depth = op.kernel_height * run;
  to.clear();
  for (Size r = 0; r < op.kernel_height; ++r)
    for (Size j = 0; j < run; j += tile * V) {
      const Size width = std::min(tile * V, run - j), padded = (width + V - 1) / V * V;
      for (Size o = 0; o < out.channels; ++o)
        for (Size i = 0; i < padded; ++i)
          to.push_back(i < width ? w[o * depth + r * run + j + i] : T(0));
    }
}

template <class T>
std::vector<Packed<T>> pack(const Network<T>& net) {
  constexpr int V = lanes<T>;
  std::vector<Packed<T>> all(net.operations);
  for (Size k = 0; k < net.operations; ++k) {
    const Operation& op = net.operation[k];
    if (op.kind != kConvolution) continue;
    const Value &in = net.value[op.input], &out = net.value[op.output];
    const T* w = static_cast<const T*>(op.weights);
    const Size depth = op.kernel_height * op.kernel_width * in.channels;
    for (Size o = 0; o < out.channels; o += 2 * V)
      for (Size j = 0; j < depth; ++j)
        for (Size i = o; i < o + 2 * V; ++i)
          all[k].forward.push_back(i < out.channels ? w[i * depth + j] : T(0));
    for (Size y = 0; y < out.height; ++y)
      for (Size x = 0; x < out.width; ++x)
        all[k].places.push_back(static_cast<std::int32_t>(
            in.offset(y * op.stride_height - op.pad_height, x * op.stride_width - op.pad_width)));
  }
  return all;
}

template <class T, int P>
void pack_for(const Network<T>& net, std::vector<Packed<T>>& packed) {
  for (Size k = 0; k < net.operations; ++k) {
    const Operation& op = net.operation[k];
    if (op.kind == kConvolution && op.gradient)
      pack_backward<T>(op, net.value[op.input], net.value[op.output], kTile<P>, packed[k].backward);
  }
}

template <class T, int P>
void prepare(const Network<T>& net, Scratch<T>& s) {
  const Size beyond = 8 * lanes<T>;  // vectors are loaded whole, beyond the end of a row
  s.call = 0;
  s.values.assign(net.numbers + beyond, T(0));
  s.gradients.resize(P * net.gradients + beyond);
  s.active.resize(net.values + net.operations);
  s.largest.resize(net.operations);
  s.map.resize(net.values);
  s.begun.resize(net.values);
}

// Run work for every image, each on one thread with its own memory.
template <class T, int P, class Work>
void for_images(const Network<T>& net, const Work& work) {
  static std::atomic<Size> calls{0};
  const Size call = ++calls;
  std::atomic<bool> shortage{false};
#pragma omp parallel for schedule(dynamic) num_threads(static_cast<int>(net.threads))
  for (Size n = 0; n < net.images; ++n) try {
    if (shortage) continue;
    static thread_local Scratch<T> s;
    if (s.call != call) prepare<T, P>(net, s);
    s.call = call;
    work(n, s);
  } catch (...) {
    shortage = true;  // no exception may leave a parallel loop
  }
  if (shortage) throw std::bad_alloc();
}

// Each image's share in every filter, for P of its passes.
template <class T, int P>
void passes(const Network<T>& net, std::vector<Packed<T>>& packed, Size first) {
  pack_for<T, P>(net, packed);
  for_images<T, P>(net, [&](Size n, Scratch<T>& s) {
    forward(net, packed, n, s);
    Backward<T, P> backward{net, packed, s, net.result + n * net.filters};
    backward.run(net.at_output + (n * net.passes + first) * net.features);
  });
}

// The mean over the positions of the last value.
template <class T>
void mean_features(const Network<T>& net, const Scratch<T>& s, T* features) {
  const Value& last = net.value[net.operation[net.operations - 1].input];
  const T* x = s.values.data() + last.place;
  std::fill(features, features + net.features, T(0));
  for (Size y = 0; y < last.height; ++y)
    for (Size i = last.offset(y, 0); i < last.offset(y, last.width); i += last.channels)
      for (Size c = 0; c < last.channels; ++c) features[c] += x[i + c];
  for (Size c = 0; c < last.channels; ++c) features[c] /= last.positions();
}

template <class T>
int features(const Network<T>& net) noexcept {
  try {
    const std::vector<Packed<T>> packed = pack(net);
    for_images<T, 0>(net, [&](Size n, Scratch<T>& s) {
      forward(net, packed, n, s);
      mean_features(net, s, net.result + n * net.features);
    });
  } catch (...) {
    return 1;
  }
  return 0;
}

template <class T>
int shares(const Network<T>& net) noexcept {
  try {
    std::fill(net.result, net.result + net.images * net.filters, T(0));
    std::vector<Packed<T>> packed = pack(net);
    for (Size first = 0; first < net.passes;) {
      const Size left = net.passes - first;
      const Size now = left >= 9 ? 9 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
      if (now == 9) passes<T, 9>(net, packed, first);
      if (now == 4) passes<T, 4>(net, packed, first);
      if (now == 2) passes<T, 2>(net, packed, first);
      if (now == 1) passes<T, 1>(net, packed, first);
      first += now;
    }
  } catch (...) {
    return 1;
  }
  return 0;
}

}  // namespace

extern "C" int shares(const Network<SCALAR>* net) { return shares(*net); }
extern "C" int features(const Network<SCALAR>* net) { return features(*net); }
