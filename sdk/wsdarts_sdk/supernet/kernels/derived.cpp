// Kernels of a training step of a derived network, for the CPU.
//
// A batch norm is not a pass over memory: the convolution before it sums Σy and Σy², and whoever
// reads y applies scale and shift by channel (`Source`). Going back, the gradient of y through its
// norm is a·s·g + b·y + c by channel, where g is the gradient of what it was added to and s the
// image's factor of drop path (`Reached`).
//
// A tensor is in planes: all channels of a node lie next to each other, and the nodes of a cell one
// after the other, so that each is read and written alone without gaps.
//
// ReLU, norm and padding happen while rows of a source are copied into a ring of a few rows in the
// first-level cache. There a row is in blocks of V channels, one after the other, and a step from
// pixel to pixel is known to the compiler. The depthwise result is never kept: the backward pass
// computes it again, which costs less than writing and reading it.
//
// It is compiled for one type of numbers, the macro SCALAR: float or double.
//
// Sums are kept for fixed groups of images and added in their order in double precision, so results
// do not depend on the number of threads.

#include "primitives.h"

namespace {

// Images in as many groups as there may be threads; a group has sums of its own.
constexpr Size GROUPS = 32;
inline Size group_size(Size images) { return (images + GROUPS - 1) / GROUPS; }
inline Size group_count(Size images) {
  const Size size = group_size(images);
  return (images + size - 1) / size;
}

template <class T>
struct Source {
  const T* values;  // N×H×W×C of each plane, with pixels `pitch` apart
  Size pitch;
  const T* scale;  // null: the values as they are
  const T* shift;
  Size width;  // channels of a plane
  Size plane;  // numbers from plane to plane
  const T* channel(Size c) const { return values + c / width * plane + c % width; }
  // Its channels from `c`, of one plane.
  Source from(Size c) const {
    return {values + c, pitch, scale ? scale + c : scale, scale ? shift + c : shift, width, plane};
  }
};

struct Grid {
  Size images, height, width, channels;  // of the source
  Size rows, columns;                    // of the result
  Size kernel, stride, dilation;
  Size edge() const { return dilation * (kernel - 1) / 2; }
  Size area() const { return rows * columns; }
};

// Where a gradient goes: written, or added to what is there.
template <class T>
struct Target {
  T* gradient;
  Size pitch;
  Size add;
  Size width, plane;  // as of a source
  T* channel(Size c) const { return gradient + c / width * plane + c % width; }
  Target from(Size c) const { return {gradient + c, pitch, add, width, plane}; }
};

// The gradient of a result y: a·s·g + b·y + c; without coefficients s·g.
template <class T>
struct Reached {
  const T* gradient;
  Size pitch;
  const T* coefficients;  // a, b and c, each `wide` after the one before; or null
  Size wide;
  const T* factors;  // of each image; or null
  Reached from(Size c) const {
    return {gradient + c, pitch, coefficients ? coefficients + c : coefficients, wide, factors};
  }
};

template <class T>
struct Norm {
  const T* weight;
  const T* bias;
  T* mean;
  T* rstd;
  T* scale;
  T* shift;
  T* running_mean;
  T* running_variance;
  T* coefficients;  // 3×C
  T* to_weight;
  T* to_bias;
  double momentum, epsilon;
  Size channels;
};

// Statistics from Σy and Σy² of `groups` groups; a group's sums are 2 × `total` numbers, and this
// norm's channels begin at `start` among them.
template <class T>
void finish(const Norm<T>& s, const double* sums, Size groups, Size total, Size start,
            double count) {
  for (Size c = 0; c < s.channels; ++c) {
    double sum = 0, square = 0;
    for (Size n = 0; n < groups; ++n) {
      sum += sums[n * 2 * total + start + c];
      square += sums[n * 2 * total + total + start + c];
    }
    const double mean = sum / count, variance = std::max(square / count - mean * mean, 0.0);
    const double rstd = 1 / std::sqrt(variance + s.epsilon), scale = rstd * s.weight[c];
    s.mean[c] = T(mean);
    s.rstd[c] = T(rstd);
    s.scale[c] = T(scale);
    s.shift[c] = T(s.bias[c] - mean * scale);
    s.running_mean[c] += T(s.momentum * (mean - s.running_mean[c]));
    s.running_variance[c] +=
        T(s.momentum * (variance * count / (count - 1) - s.running_variance[c]));
  }
}

// Gradients of scale and shift, and the coefficients of y's gradient, from Σs·g and Σs·g·y.
template <class T>
void finish_backward(const Norm<T>& s, const double* sums, const double* products, double count) {
  const Size C = s.channels;
  for (Size c = 0; c < C; ++c) {
    const double mean = s.mean[c], rstd = s.rstd[c], a = rstd * s.weight[c];
    const double normed = rstd * (products[c] - mean * sums[c]), b = -a * rstd * normed / count;
    s.to_weight[c] = T(normed);
    s.to_bias[c] = T(sums[c]);
    s.coefficients[c] = T(a);
    s.coefficients[C + c] = T(b);
    s.coefficients[2 * C + c] = T(-a * sums[c] / count - b * mean);
  }
}

// Add the groups' gradients in their order: found is groups × count.
template <class T>
void add_groups(const T* found, Size groups, Size count, T* total) {
  constexpr Size PART = 512;
  for (Size first = 0; first < count; first += PART) {
    const Size size = std::min(PART, count - first);
    double sums[PART] = {};
    for (Size n = 0; n < groups; ++n)
      for (Size i = 0; i < size; ++i) sums[i] += found[n * count + first + i];
    for (Size i = 0; i < size; ++i) total[first + i] = T(sums[i]);
  }
}

// Copy pixels, `step` apart, with norm and ReLU; blocks of the copy are `block` apart, their pixels V.
template <class T, int V, bool Relu>
void read_pixels(const Source<T>& s, Size first, Size step, Size pixels, Size C, T* out,
                 Size block) {
  for (Size c = 0; c < C; c += V, out += block) {
    const T* in = s.channel(c) + first * s.pitch;
    const Size pitch = step * s.pitch;
    if (s.scale) {
      const Vec<T, V> scale = at<T, V>(s.scale + c), shift = at<T, V>(s.shift + c);
      for (Size x = 0; x < pixels; ++x) {
        const Vec<T, V> v = at<T, V>(in + x * pitch) * scale + shift;
        at<T, V>(out + x * V) = Relu ? relu(v) : v;
      }
    } else {
      for (Size x = 0; x < pixels; ++x) {
        const Vec<T, V> v = at<T, V>(in + x * pitch);
        at<T, V>(out + x * V) = Relu ? relu(v) : v;
      }
    }
  }
}

// The gradient of pixels of y, in blocks.
template <class T, int V>
void reached_pixels(const Reached<T>& r, Size image, Size first, const T* y, Size y_pitch,
                    Size pixels, Size C, T* out, Size block) {
  const T factor = r.factors ? r.factors[image] : T(1);
  for (Size k = 0; k < C; k += V, out += block) {
    const T* g = r.gradient + first * r.pitch + k;
    if (!r.coefficients) {
      for (Size p = 0; p < pixels; ++p) at<T, V>(out + p * V) = factor * at<T, V>(g + p * r.pitch);
      continue;
    }
    const Vec<T, V> a = factor * at<T, V>(r.coefficients + k);
    const Vec<T, V> b = at<T, V>(r.coefficients + r.wide + k);
    const Vec<T, V> c = at<T, V>(r.coefficients + 2 * r.wide + k);
    for (Size p = 0; p < pixels; ++p)
      at<T, V>(out + p * V) = a * at<T, V>(g + p * r.pitch) + (b * at<T, V>(y + p * y_pitch + k) + c);
  }
}

// Write what passes the ReLU, and add up Σg and Σg·y of a source's own norm.
template <class T, int V>
void send_own_pixels(const Target<T>& to, const Source<T>& source, Size first, const T* found,
                     Size found_block, const T* seen, Size seen_block, Size pixels, Size C,
                     double* sums, double* products) {
  for (Size c = 0; c < C; c += V, found += found_block, seen += seen_block) {
    Vec<T, V> sum[2] = {}, product[2] = {};
    T* out = to.gradient + first * to.pitch + c;
    const T* y = source.values + first * source.pitch + c;
    const auto send = [&](Size x, int part) {
      const Vec<T, V> v = at<T, V>(found + x * V);
      const Vec<T, V> passed = at<T, V>(seen + x * V) > 0 ? v : Vec<T, V>{};
      sum[part] += passed;
      product[part] += passed * at<T, V>(y + x * source.pitch);
      at<T, V>(out + x * to.pitch) = passed;
    };
    Size x = 0;
    for (; x + 2 <= pixels; x += 2) {
      send(x, 0);
      send(x + 1, 1);
    }
    if (x < pixels) send(x, 0);
    at<double, V>(sums + c) += __builtin_convertvector(sum[0] + sum[1], Vec<double, V>);
    at<double, V>(products + c) += __builtin_convertvector(product[0] + product[1], Vec<double, V>);
  }
}

// Write or add what passes the ReLU: `seen` is what came out of it. Both are in blocks.
template <class T, int V, bool Relu>
void send_pixels(const Target<T>& to, Size first, Size step, const T* found, Size found_block,
                 const T* seen, Size seen_block, Size pixels, Size C) {
  for (Size c = 0; c < C; c += V, found += found_block, seen += seen_block) {
    T* out = to.channel(c) + first * to.pitch;
    const Size pitch = step * to.pitch;
    for (Size x = 0; x < pixels; ++x) {
      Vec<T, V> v = at<T, V>(found + x * V);
      if (Relu) v = at<T, V>(seen + x * V) > 0 ? v : Vec<T, V>{};
      Vec<T, V>& there = at<T, V>(out + x * pitch);
      there = to.add ? there + v : v;
    }
  }
}

// ------------------------------------------------------------------------------------------
// Small matrix products of pixels in blocks

// Copy a matrix, depth × outputs, for `multiply`: pairs of blocks of outputs one after the other.
template <class T, int V>
void pack(const T* from, Size depth, Size outputs, T* to) {
  for (Size o = 0; o < outputs; o += 2 * V) {
    const Size wide = std::min<Size>(2 * V, outputs - o);
    for (Size k = 0; k < depth; ++k, to += wide) std::copy_n(from + k * outputs + o, wide, to);
  }
}

// Where a product is written, and the float sums of what is written and of its square, or null.
template <class T>
struct Written {
  T* values;
  Size pitch, block;
  T* sums;
  T* squares;
};

// y[p][o] = Σ_k a[p][k] · b[k][o], for P pixels and B blocks of outputs.
template <class T, int V, int P, int B>
inline void multiply_tile(const T* a, Size a_block, Size blocks, const T* b, const Written<T>& y) {
  Vec<T, V> sum[P][B] = {};
  for (Size block = 0; block < blocks; ++block, a += a_block)
#pragma GCC unroll 2
    for (int k = 0; k < V; ++k, b += B * V) {
      Vec<T, V> weights[B];
      for (int j = 0; j < B; ++j) weights[j] = at<T, V>(b + j * V);
#pragma GCC unroll 16
      for (int i = 0; i < P; ++i)
        for (int j = 0; j < B; ++j) sum[i][j] += a[i * V + k] * weights[j];
    }
  for (int j = 0; j < B; ++j)
#pragma GCC unroll 16
    for (int i = 0; i < P; ++i) at<T, V>(y.values + i * y.pitch + j * y.block) = sum[i][j];
  if (!y.sums) return;
  for (int j = 0; j < B; ++j) {
    Vec<T, V> first = at<T, V>(y.sums + j * V), second = at<T, V>(y.squares + j * V);
#pragma GCC unroll 16
    for (int i = 0; i < P; ++i) {
      first += sum[i][j];
      second += sum[i][j] * sum[i][j];
    }
    at<T, V>(y.sums + j * V) = first;
    at<T, V>(y.squares + j * V) = second;
  }
}

// All pixels, P at a time, and what is left by fewer.
template <class T, int V, int P, int B>
void multiply_columns(const T* a, Size a_block, Size blocks, const T* b, Written<T> y,
                      Size pixels) {
  for (; pixels >= P; pixels -= P) {
    multiply_tile<T, V, P, B>(a, a_block, blocks, b, y);
    a += P * V;
    y.values += P * y.pitch;
  }
  if constexpr (P > 1)
    if (pixels > 0)
      multiply_columns<T, V, (P > 4 ? 4 : 1), B>(a, a_block, blocks, b, y, pixels);
}

// The product for all outputs; `b` is packed.
template <class T, int V>
void multiply(const T* a, Size a_block, Size depth, const T* b, Written<T> y, Size outputs,
              Size pixels) {
  constexpr int PAIR = REGISTERS >= 32 ? 8 : 4, SINGLE = REGISTERS >= 32 ? 16 : 8;
  Size o = 0;
  for (; o + 2 * V <= outputs; o += 2 * V) {
    multiply_columns<T, V, PAIR, 2>(a, a_block, depth / V, b + o * depth, y, pixels);
    y.values += 2 * y.block;
    if (y.sums) y.sums += 2 * V, y.squares += 2 * V;
  }
  if (o < outputs)
    multiply_columns<T, V, SINGLE, 1>(a, a_block, depth / V, b + o * depth, y, pixels);
}

// total[o][c] += Σ_p g[p][o] · d[p][c]; O neighbouring outputs and B blocks of inputs.
template <class T, int V, int O, int B>
inline void correlate_tile(const T* g, const T* d, Size d_block, T* total, Size inputs,
                           Size pixels) {
  Vec<T, V> sum[O][B];
  for (int i = 0; i < O; ++i)
    for (int j = 0; j < B; ++j) sum[i][j] = at<T, V>(total + i * inputs + j * V);
  for (Size p = 0; p < pixels; ++p) {
    Vec<T, V> row[B];
    for (int j = 0; j < B; ++j) row[j] = at<T, V>(d + p * V + j * d_block);
#pragma GCC unroll 16
    for (int i = 0; i < O; ++i)
      for (int j = 0; j < B; ++j) sum[i][j] += g[p * V + i] * row[j];
  }
  for (int i = 0; i < O; ++i)
    for (int j = 0; j < B; ++j) at<T, V>(total + i * inputs + j * V) = sum[i][j];
}

// The same of all outputs and inputs: the weight gradient of some pixels.
template <class T, int V>
void correlate(const T* g, Size g_block, const T* d, Size d_block, T* total, Size outputs,
               Size inputs, Size pixels) {
  constexpr int PAIR = std::min(V, REGISTERS >= 32 ? 8 : 4);
  constexpr int SINGLE = std::min(V, REGISTERS >= 32 ? 16 : 8);
  Size c = 0;
  for (; c + 2 * V <= inputs; c += 2 * V, d += 2 * d_block)
    for (Size o = 0; o < outputs; o += PAIR)
      correlate_tile<T, V, PAIR, 2>(g + o / V * g_block + o % V, d, d_block,
                                    total + o * inputs + c, inputs, pixels);
  if (c < inputs)
    for (Size o = 0; o < outputs; o += SINGLE)
      correlate_tile<T, V, SINGLE, 1>(g + o / V * g_block + o % V, d, d_block,
                                      total + o * inputs + c, inputs, pixels);
}

// Add the sums of some pixels to those of the group, and begin anew.
template <class T>
void collect(T* found, Size count, double* total) {
  for (Size i = 0; i < count; ++i) {
    total[i] += found[i];
    found[i] = T(0);
  }
}

// ------------------------------------------------------------------------------------------
// ReLU, depthwise and pointwise convolution

// X pixels of a block of channels: K rows, stride S and dilation D; `w` is taps × V.
template <class T, int V, int K, int S, int D, int X>
inline void depthwise_tile(const T* const* rows, Size place, const T* w, T* out) {
  // Neighbours share what they read, if it can be held.
  constexpr bool SHARED = S == 1 && X + (K - 1) * D + X < REGISTERS - 3;
  Vec<T, V> sum[X] = {};
#pragma GCC unroll 1
  for (int i = 0; i < K; ++i, w += K * V) {
    const T* in = rows[i] + place;
    if constexpr (SHARED) {
      Vec<T, V> seen[X + (K - 1) * D];
#pragma GCC unroll 32
      for (int q = 0; q < X + (K - 1) * D; ++q) seen[q] = at<T, V>(in + q * V);
#pragma GCC unroll 8
      for (int j = 0; j < K; ++j)
#pragma GCC unroll 8
        for (int q = 0; q < X; ++q) sum[q] += seen[q + j * D] * at<T, V>(w + j * V);
    } else {
#pragma GCC unroll 8
      for (int j = 0; j < K; ++j) {
        const Vec<T, V> weight = at<T, V>(w + j * V);
#pragma GCC unroll 8
        for (int q = 0; q < X; ++q) sum[q] += at<T, V>(in + (q * S + j * D) * V) * weight;
      }
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < X; ++q) at<T, V>(out + q * V) = sum[q];
}

// Call with stride and dilation as constants.
template <class Work>
inline void with_steps(Size stride, Size dilation, const Work& work) {
  using One = std::integral_constant<int, 1>;
  using Two = std::integral_constant<int, 2>;
  if (stride == 1)
    dilation == 1 ? work(One(), One()) : work(One(), Two());
  else
    dilation == 1 ? work(Two(), One()) : work(Two(), Two());
}

// One row of a block; the last pixels may be computed twice.
template <class T, int V, int K, int S, int D>
void depthwise_tiles(const T* const* rows, Size place, const T* w, Size columns, T* out) {
  const auto tiles = [&](auto count) {
    constexpr int X = decltype(count)::value;
    for (Size x = 0; x < columns; x += X) {
      const Size from = std::min(x, columns - X);
      depthwise_tile<T, V, K, S, D, X>(rows, place + from * S * V, w, out + from * V);
    }
  };
  if (S == 1 && columns >= 8)
    tiles(std::integral_constant<int, S == 1 ? 8 : 4>());
  else if (columns >= 4)
    tiles(std::integral_constant<int, 4>());
  else
    tiles(std::integral_constant<int, 1>());
}

// One row of all blocks, which are `block` apart in the rows and `line` in the result.
template <class T, int V, int K>
void depthwise_row(Size stride, Size dilation, const T* const* rows, Size block, const T* taps,
                   Size blocks, Size columns, T* out, Size line) {
  with_steps(stride, dilation, [&](auto s, auto d) {
    for (Size b = 0; b < blocks; ++b)
      depthwise_tiles<T, V, K, s.value, d.value>(rows, b * block, taps + b * K * K * V, columns,
                                                 out + b * line);
  });
}

// total[tap] += Σ_x g[x] · rows[x·S + tap] of a block; pixels of g are S apart, too.
template <class T, int V, int K, int S, int D>
void depthwise_weights(const T* const* rows, Size place, const T* g, Size columns, T* total) {
  constexpr int X = 4, PARTS = K == 3 ? 3 : 2;
  for (int i = 0; i < K; ++i, total += K * V) {
    const T* in = rows[i] + place;
    Vec<T, V> sum[K][PARTS] = {};
    Size x = 0;
    for (; x + X <= columns; x += X) {
      Vec<T, V> v[X];
#pragma GCC unroll 4
      for (int q = 0; q < X; ++q) v[q] = at<T, V>(g + (x + q) * S * V);
      if constexpr (S == 1 && REGISTERS >= 32) {
        Vec<T, V> seen[X + (K - 1) * D];
#pragma GCC unroll 16
        for (int q = 0; q < X + (K - 1) * D; ++q) seen[q] = at<T, V>(in + (x + q) * V);
#pragma GCC unroll 4
        for (int q = 0; q < X; ++q)
#pragma GCC unroll 8
          for (int j = 0; j < K; ++j) sum[j][q % PARTS] += v[q] * seen[q + j * D];
      } else {
#pragma GCC unroll 4
        for (int q = 0; q < X; ++q)
#pragma GCC unroll 8
          for (int j = 0; j < K; ++j)
            sum[j][q % PARTS] += v[q] * at<T, V>(in + ((x + q) * S + j * D) * V);
      }
    }
    for (; x < columns; ++x) {
      const Vec<T, V> v = at<T, V>(g + x * S * V);
      for (int j = 0; j < K; ++j) sum[j][0] += v * at<T, V>(in + (x * S + j * D) * V);
    }
    for (int j = 0; j < K; ++j) {
      Vec<T, V> all = sum[j][0];
      for (int q = 1; q < PARTS; ++q) all += sum[j][q];
      at<T, V>(total + j * V) += all;
    }
  }
}

// The same of all blocks.
template <class T, int V, int K>
void depthwise_weights_row(Size stride, Size dilation, const T* const* rows, const T* g,
                           Size block, Size blocks, Size columns, T* total) {
  with_steps(stride, dilation, [&](auto s, auto d) {
    for (Size b = 0; b < blocks; ++b)
      depthwise_weights<T, V, K, s.value, d.value>(rows, b * block, g + b * block, columns,
                                                   total + b * K * K * V);
  });
}

template <class T>
struct Half {
  Grid grid;
  Source<T> source;
  const T* depthwise;  // C×K×K
  const T* pointwise;  // C×C, outputs first
};

// A ring of padded rows: row r lies at r modulo their number; others are zero.
template <class T>
struct Ring {
  T* memory;
  Size slots, size;
  T* slot(Size row) const { return memory + (row % slots) * size; }
  T* zero() const { return memory + slots * size; }
  void clear() const { std::fill(memory, memory + (slots + 1) * size, T(0)); }
};

// With dilation D, the rows of one remainder by D see each other alone: only those of one are in
// the cache. They are counted from 0, and so are the rows of the result that are made of them.
struct Lattice {
  Size remainder, step, stride, rows, results;
  Lattice(const Grid& s, Size k)
      : remainder(k),
        step(s.dilation),
        stride(s.stride),
        rows((s.height - k + step - 1) / step),
        results(stride == 1 ? rows : k == 0 ? s.rows : 0) {}
  Size hop() const { return std::max<Size>(1, stride / step); }  // rows from result to result
  Size row(Size m) const { return remainder + step * m; }
  Size result(Size o) const { return stride == 1 ? row(o) : o; }
};

// The taps of each block one after the other, from C×K×K.
template <class T, int V>
void order_taps(const T* depthwise, Size C, Size K2, bool flip, T* taps) {
  for (Size c = 0; c < C; ++c)
    for (Size t = 0; t < K2; ++t)
      taps[(c / V * K2 + (flip ? K2 - 1 - t : t)) * V + c % V] = depthwise[c * K2 + t];
}

template <class T, int V, int K>
void half_forward(const Half<T>& h, T* result, const Norm<T>& norm) {
  const Grid& s = h.grid;
  constexpr Size HALF = K / 2, K2 = K * K;
  const Size C = s.channels, blocks = C / V, groups = group_count(s.images);
  const Size S = s.stride, D = s.dilation, EDGE = s.edge();
  const Size plane = (s.width + 2 * EDGE) * V, line = s.columns * V;
  Numbers<T> taps(K2 * C), columns(C * C), packed(C * C);
  order_taps<T, V>(h.depthwise, C, K2, false, taps.data());
  transpose(h.pointwise, C, C, columns.data());
  pack<T, V>(columns.data(), C, C, packed.data());
  std::vector<double> sums(groups * 2 * C, 0.0);
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size group = 0; group < groups; ++group) try {
    const Size first = group * group_size(s.images);
    const Size last = std::min(first + group_size(s.images), s.images);
    Ring<T> ring{nullptr, K, plane * blocks};
    ring.memory = scratch<T>(0, (ring.slots + 1) * ring.size);
    ring.clear();
    T* middle = scratch<T>(1, line * blocks);
    T* of_row = scratch<T>(2, 2 * C);
    std::fill(of_row, of_row + 2 * C, T(0));
    for (Size n = first; n < last; ++n)
      for (Size k = 0; k < D; ++k) {
        const Lattice lattice(s, k);
        Size loaded = 0;
        for (Size o = 0; o < lattice.results; ++o) {
          const Size m = o * lattice.hop();
          for (; loaded < std::min(m + HALF + 1, lattice.rows); ++loaded)
            read_pixels<T, V, true>(h.source, (n * s.height + lattice.row(loaded)) * s.width, 1,
                                    s.width, C, ring.slot(loaded) + EDGE * V, plane);
          const T* rows[K];
          for (int i = 0; i < K; ++i) {
            const Size row = m - HALF + i;
            rows[i] = row >= 0 && row < lattice.rows ? ring.slot(row) : ring.zero();
          }
          depthwise_row<T, V, K>(S, D, rows, plane, taps.data(), blocks, s.columns, middle, line);
          T* out = result + (n * s.rows + lattice.result(o)) * s.columns * C;
          multiply<T, V>(middle, line, C, packed.data(), {out, C, V, of_row, of_row + C}, C,
                         s.columns);
          collect(of_row, 2 * C, sums.data() + group * 2 * C);
        }
      }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
  finish(norm, sums.data(), groups, C, Size(0), double(s.images * s.area()));
}

// `norm` is that of an own source, whose coefficients are found on the way; null of a shared one.
template <class T, int V, int K>
void half_backward(const Half<T>& h, const T* result, const Reached<T>& reached,
                   const Target<T>& to, const Norm<T>* norm, T* to_depthwise, T* to_pointwise) {
  const Grid& s = h.grid;
  constexpr Size HALF = K / 2, K2 = K * K;
  const Size C = s.channels, blocks = C / V, groups = group_count(s.images);
  const Size S = s.stride, D = s.dilation, EDGE = s.edge();
  const Size plane = (s.width + 2 * EDGE) * V, line = s.columns * V, wide = s.width * V;
  const Size most = std::max<Size>(1, 64 / s.columns);  // rows of one product for the weights
  Numbers<T> taps(K2 * C), flipped(K2 * C), packed(C * C);
  order_taps<T, V>(h.depthwise, C, K2, false, taps.data());
  order_taps<T, V>(h.depthwise, C, K2, true, flipped.data());
  pack<T, V>(h.pointwise, C, C, packed.data());
  Numbers<T> of_taps(groups * K2 * C, T(0)), of_columns(groups * C * C, T(0));
  std::vector<double> sums(groups * 2 * C, 0.0);
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size group = 0; group < groups; ++group) try {
    const Size first = group * group_size(s.images);
    const Size last = std::min(first + group_size(s.images), s.images);
    Ring<T> ring{nullptr, K, plane * blocks}, spread = ring;
    ring.memory = scratch<T>(0, (ring.slots + 1) * ring.size);
    spread.memory = scratch<T>(2, (ring.slots + 1) * ring.size);
    ring.clear();
    spread.clear();
    T* outers = scratch<T>(1, most * line * blocks);
    T* middles = scratch<T>(3, most * line * blocks);
    T* found = scratch<T>(4, wide * blocks);
    T* own_taps = of_taps.data() + group * K2 * C;
    T* own_columns = of_columns.data() + group * C * C;
    double* sum = sums.data() + group * 2 * C;
    for (Size n = first; n < last; ++n)
      for (Size k = 0; k < D; ++k) {
        const Lattice lattice(s, k);
        Size loaded = 0, held = 0;
        for (Size q = 0; q < lattice.rows + HALF; ++q) {
          for (; loaded < std::min(q + HALF + 1, lattice.rows); ++loaded)
            read_pixels<T, V, true>(h.source, (n * s.height + lattice.row(loaded)) * s.width, 1,
                                    s.width, C, ring.slot(loaded) + EDGE * V, plane);
          const Size o = q / lattice.hop();
          const T* rows[K];
          if (q % lattice.hop() == 0 && o < lattice.results) {
            for (int i = 0; i < K; ++i) {
              const Size row = q - HALF + i;
              rows[i] = row >= 0 && row < lattice.rows ? ring.slot(row) : ring.zero();
            }
            const Size place = (n * s.rows + lattice.result(o)) * s.columns;
            T* outer_row = outers + held * line;
            reached_pixels<T, V>(reached, n, place, result + place * C, C, s.columns, C,
                                 outer_row, most * line);
            T* inner = spread.slot(q) + EDGE * V;
            multiply<T, V>(outer_row, most * line, C, packed.data(),
                           {inner, S * V, plane, nullptr, nullptr}, C, s.columns);
            depthwise_row<T, V, K>(S, D, rows, plane, taps.data(), blocks, s.columns,
                                   middles + held * line, most * line);
            depthwise_weights_row<T, V, K>(S, D, rows, inner, plane, blocks, s.columns, own_taps);
            if (++held == most || o + 1 == lattice.results) {
              correlate<T, V>(outers, most * line, middles, most * line, own_columns, C, C,
                              held * s.columns);
              held = 0;
            }
          }
          const Size r = q - HALF;
          if (r < 0) continue;
          for (int i = 0; i < K; ++i) {
            const Size row = r - HALF + i;
            const bool there =
                row >= 0 && row % lattice.hop() == 0 && row / lattice.hop() < lattice.results;
            rows[i] = there ? spread.slot(row) : spread.zero();
          }
          depthwise_row<T, V, K>(1, D, rows, plane, flipped.data(), blocks, s.width, found, wide);
          const Size place = (n * s.height + lattice.row(r)) * s.width;
          const T* seen = ring.slot(r) + EDGE * V;
          if (norm)
            send_own_pixels<T, V>(to, h.source, place, found, wide, seen, plane, s.width, C, sum,
                                  sum + C);
          else
            send_pixels<T, V, true>(to, place, 1, found, wide, seen, plane, s.width, C);
        }
      }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
  add_groups(of_columns.data(), groups, C * C, to_pointwise);
  Numbers<T> total(K2 * C);
  add_groups(of_taps.data(), groups, K2 * C, total.data());
  for (Size c = 0; c < C; ++c)
    for (Size t = 0; t < K2; ++t) to_depthwise[c * K2 + t] = total[(c / V * K2 + t) * V + c % V];
  if (!norm) return;
  for (Size g = 1; g < groups; ++g)
    for (Size i = 0; i < 2 * C; ++i) sums[i] += sums[g * 2 * C + i];
  finish_backward(*norm, sums.data(), sums.data() + C, double(s.images * s.height * s.width));
}

// ------------------------------------------------------------------------------------------
// 1×1 convolutions of one source: the inputs of cells, and the halves of a factorised reduction

// One of several convolutions that read the same pixels.
template <class T>
struct Part {
  const T* weights;  // outputs × C
  T* to_weights;
  Size outputs;
  T* result;
  Size pitch;
  Reached<T> reached;
};

template <class T>
struct Projection {
  Grid grid;
  Source<T> source;
  Size offset;  // first row and column of the grid
  Size total;   // channels of the norms' sums
  Size start;   // first of these convolutions' among them
  Size relu;
  Size count;
  Part<T>* parts;
  Size outputs() const {
    Size sum = 0;
    for (Size i = 0; i < count; ++i) sum += parts[i].outputs;
    return sum;
  }
  // What all blocks of channels have to divide.
  Size divisor() const {
    Size found = grid.channels | source.width;
    for (Size i = 0; i < count; ++i) found |= parts[i].outputs;
    return found;
  }
};

// The pixels of one image that are computed at a time, in the source and in the result.
struct Strip {
  Size first, place, pixels, missing;
};

// Pixels of a strip: what is read of them is to stay in the first-level cache.
template <class T>
Size longest_strip(const Projection<T>& p) {
  return p.grid.stride > 1 ? p.grid.columns : p.grid.channels >= 128 ? 32 : 64;
}

template <class T, class Work>
void for_strips(const Projection<T>& p, Size n, const Work& work) {
  const Grid& s = p.grid;
  if (s.stride == 1) {
    const Size longest = longest_strip(p);
    for (Size x = 0; x < s.area(); x += longest) {
      const Size place = n * s.area() + x;
      work(Strip{place, place, std::min(longest, s.area() - x), 0});
    }
    return;
  }
  for (Size y = 0; y < s.rows; ++y) {
    const Size row = y * s.stride + p.offset;
    const Size there = row < s.height ? (s.width - p.offset + s.stride - 1) / s.stride : 0;
    work(Strip{(n * s.height + row) * s.width + p.offset, (n * s.rows + y) * s.columns, there,
               s.columns - there});
  }
}

// Copy a strip in blocks; what is missing of it is zero.
template <class T, int V>
void read_strip(const Projection<T>& p, const Strip& strip, T* seen, Size block) {
  const Size C = p.grid.channels;
  if (p.relu)
    read_pixels<T, V, true>(p.source, strip.first, p.grid.stride, strip.pixels, C, seen, block);
  else
    read_pixels<T, V, false>(p.source, strip.first, p.grid.stride, strip.pixels, C, seen, block);
  for (Size b = 0; b < C / V && strip.missing; ++b)
    std::fill_n(seen + b * block + strip.pixels * V, strip.missing * V, T(0));
}

// Sums of Σy and Σy² are written to `sums`, groups × 2 × total.
template <class T, int V>
void project_forward(const Projection<T>& p, double* sums) {
  const Grid& s = p.grid;
  const Size C = s.channels, outputs = p.outputs(), groups = group_count(s.images);
  const Size block = longest_strip(p) * V;
  Numbers<T> columns(C * outputs), packed(C * outputs);
  for (Size i = 0, start = 0; i < p.count; start += p.parts[i++].outputs) {
    transpose(p.parts[i].weights, p.parts[i].outputs, C, columns.data() + start * C);
    pack<T, V>(columns.data() + start * C, C, p.parts[i].outputs, packed.data() + start * C);
  }
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size group = 0; group < groups; ++group) try {
    const Size first = group * group_size(s.images);
    const Size last = std::min(first + group_size(s.images), s.images);
    T* seen = scratch<T>(0, block * (C / V));
    T* of_strip = scratch<T>(1, 2 * outputs);
    std::fill_n(of_strip, 2 * outputs, T(0));
    double* sum = sums + group * 2 * p.total + p.start;
    std::fill_n(sum, outputs, 0.0);
    std::fill_n(sum + p.total, outputs, 0.0);
    for (Size n = first; n < last; ++n)
      for_strips(p, n, [&](const Strip& strip) {
        read_strip<T, V>(p, strip, seen, block);
        for (Size i = 0, start = 0; i < p.count; start += p.parts[i++].outputs) {
          const Part<T>& part = p.parts[i];
          multiply<T, V>(seen, block, C, packed.data() + start * C,
                         {part.result + strip.place * part.pitch, part.pitch, V,
                          of_strip + start, of_strip + outputs + start},
                         part.outputs, strip.pixels + strip.missing);
        }
        collect(of_strip, outputs, sum);
        collect(of_strip + outputs, outputs, sum + p.total);
      });
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
}

// No gradient is sent where the target has none.
template <class T, int V>
void project_backward(const Projection<T>& p, const Target<T>& to) {
  const Grid& s = p.grid;
  const Size C = s.channels, outputs = p.outputs(), groups = group_count(s.images);
  const Size block = longest_strip(p) * V;
  Numbers<T> weights(outputs * C), packed(outputs * C), found(groups * outputs * C, T(0));
  for (Size i = 0, start = 0; i < p.count; start += p.parts[i++].outputs)
    std::copy_n(p.parts[i].weights, p.parts[i].outputs * C, weights.data() + start * C);
  pack<T, V>(weights.data(), outputs, C, packed.data());
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size group = 0; group < groups; ++group) try {
    const Size first = group * group_size(s.images);
    const Size last = std::min(first + group_size(s.images), s.images);
    T* seen = scratch<T>(0, block * (C / V));
    T* inner = scratch<T>(1, block * (C / V));
    T* outers = scratch<T>(2, block * (outputs / V));
    for (Size n = first; n < last; ++n)
      for_strips(p, n, [&](const Strip& strip) {
        if (strip.pixels == 0) return;
        read_strip<T, V>(p, strip, seen, block);
        Size start = 0;
        for (Size i = 0; i < p.count; start += p.parts[i++].outputs) {
          const Part<T>& part = p.parts[i];
          reached_pixels<T, V>(part.reached, n, strip.place,
                               part.result + strip.place * part.pitch, part.pitch, strip.pixels,
                               part.outputs, outers + start / V * block, block);
        }
        correlate<T, V>(outers, block, seen, block, found.data() + group * outputs * C, outputs,
                        C, strip.pixels);
        if (!to.gradient) return;
        multiply<T, V>(outers, block, outputs, packed.data(),
                       {inner, V, block, nullptr, nullptr}, C, strip.pixels);
        if (p.relu)
          send_pixels<T, V, true>(to, strip.first, s.stride, inner, block, seen, block,
                                  strip.pixels, C);
        else
          send_pixels<T, V, false>(to, strip.first, s.stride, inner, block, seen, block,
                                   strip.pixels, C);
      });
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
  Numbers<T> sum(outputs * C);
  add_groups(found.data(), groups, outputs * C, sum.data());
  for (Size i = 0, start = 0; i < p.count; start += p.parts[i++].outputs)
    std::copy_n(sum.data() + start * C, p.parts[i].outputs * C, p.parts[i].to_weights);
}

// ------------------------------------------------------------------------------------------
// 3×3 pooling

// A block of an image, with a border of one pixel.
template <class T, int V>
void pad_image(const Grid& s, const Source<T>& block, Size n, T fill, T* padded) {
  const Size width = (s.width + 2) * V;
  std::fill_n(padded, (s.height + 2) * width, fill);
  for (Size y = 0; y < s.height; ++y)
    read_pixels<T, V, false>(block, (n * s.height + y) * s.width, 1, s.width, V,
                             padded + (y + 1) * width + V, 0);
}

// Rows or columns of a window that lie in the image.
inline Size inside(Size place, Size stride, Size extent) {
  return std::min<Size>(place * stride + 2, extent) - std::max<Size>(place * stride - 1, 0);
}

template <class T, int V>
void pool_forward(const Grid& s, bool maximum, const Source<T>& source, T* result) {
  const Size C = s.channels, width = (s.width + 2) * V;
  const T fill = maximum ? -std::numeric_limits<T>::infinity() : T(0);
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < s.images; ++n) try {
    T* padded = scratch<T>(0, (s.height + 2) * width);
    for (Size c = 0; c < C; c += V) {
      pad_image<T, V>(s, source.from(c), n, fill, padded);
      for (Size y = 0; y < s.rows; ++y)
        for (Size x = 0; x < s.columns; ++x) {
          const T* in = padded + y * s.stride * width + x * s.stride * V;
          const T share = T(1) / T(inside(y, s.stride, s.height) * inside(x, s.stride, s.width));
          Vec<T, V> found = Vec<T, V>{} + fill;
          for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) {
              const Vec<T, V> v = at<T, V>(in + i * width + j * V);
              // A NaN wins, as in torch.
              found = maximum ? (found >= v ? found : (v != v ? v : (found != found ? found : v)))
                              : found + v;
            }
          at<T, V>(result + ((n * s.rows + y) * s.columns + x) * C + c) =
              maximum ? found : found * share;
        }
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
}

// Spread the gradient of one pixel of the result; `place` is its window's first in both images.
template <class T, int V>
inline void spread_pixel(const T* padded, T* spread, Size place, Size width, Vec<T, V> left,
                         const Vec<T, V>* top) {
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const Size tap = place + i * width + j * V;
      if (!top) {
        at<T, V>(spread + tap) += left;
        continue;
      }
      // The first of equal maxima takes the gradient, as in torch.
      const auto winner = at<T, V>(padded + tap) == *top;
      at<T, V>(spread + tap) += winner ? left : Vec<T, V>{};
      left = winner ? Vec<T, V>{} : left;
    }
}

template <class T, int V>
void pool_backward(const Grid& s, bool maximum, const Source<T>& source, const T* result,
                   const Reached<T>& reached, const Target<T>& to) {
  const Size C = s.channels, width = (s.width + 2) * V, size = (s.height + 2) * width;
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < s.images; ++n) try {
    T* padded = scratch<T>(0, size);
    T* spread = scratch<T>(2, size);
    T* total = scratch<T>(1, s.columns * V);
    for (Size c = 0; c < C; c += V) {
      if (maximum)
        pad_image<T, V>(s, source.from(c), n, -std::numeric_limits<T>::infinity(), padded);
      std::fill_n(spread, size, T(0));
      for (Size y = 0; y < s.rows; ++y) {
        const Size place = (n * s.rows + y) * s.columns;
        const T* of_row = result + place * C + c;
        reached_pixels<T, V>(reached.from(c), n, place, of_row, C, s.columns, V, total, 0);
        for (Size x = 0; x < s.columns; ++x) {
          const Size corner = y * s.stride * width + x * s.stride * V;
          const T share = T(1) / T(inside(y, s.stride, s.height) * inside(x, s.stride, s.width));
          const Vec<T, V> found = at<T, V>(total + x * V);
          if (maximum)
            spread_pixel<T, V>(padded, spread, corner, width, found, &at<T, V>(of_row + x * C));
          else
            spread_pixel<T, V>(nullptr, spread, corner, width, found * share, nullptr);
        }
      }
      for (Size y = 0; y < s.height; ++y)
        send_pixels<T, V, false>(to.from(c), (n * s.height + y) * s.width, 1,
                                 spread + (y + 1) * width + V, 0, nullptr, 0, s.width, V);
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
}

// ------------------------------------------------------------------------------------------
// A node: the sum of its paths, each with its norm and its factor of drop path

template <class T>
struct Term {
  Source<T> source;
  const T* factors;     // of each image; null: 1
  const Norm<T>* norm;  // of values whose norm's gradient is wanted; or null
};

// Write the sum of two terms, or add it where `Add`.
template <class T, int V, bool Add>
void sum_pair(const Term<T>& first, const Term<T>& second, Size n, Size pixels, Size C, T* result,
              Size pitch) {
  const Source<T>&f = first.source, &g = second.source;
  const T of_f = first.factors ? first.factors[n] : T(1);
  const T of_g = second.factors ? second.factors[n] : T(1);
  for (Size c = 0; c < C; c += V) {
    Vec<T, V> f_scale = Vec<T, V>{} + of_f, g_scale = Vec<T, V>{} + of_g, shift = {};
    if (f.scale) {
      f_scale *= at<T, V>(f.scale + c);
      shift += of_f * at<T, V>(f.shift + c);
    }
    if (g.scale) {
      g_scale *= at<T, V>(g.scale + c);
      shift += of_g * at<T, V>(g.shift + c);
    }
    const T* f_in = f.values + n * pixels * f.pitch + c;
    const T* g_in = g.values + n * pixels * g.pitch + c;
    T* out = result + n * pixels * pitch + c;
    for (Size x = 0; x < pixels; ++x) {
      const Vec<T, V> v = f_scale * at<T, V>(f_in + x * f.pitch) +
                          (g_scale * at<T, V>(g_in + x * g.pitch) + shift);
      Vec<T, V>& there = at<T, V>(out + x * pitch);
      there = Add ? there + v : v;
    }
  }
}

// The same of one term.
template <class T, int V, bool Add>
void sum_one(const Term<T>& term, Size n, Size pixels, Size C, T* result, Size pitch) {
  const Source<T>& f = term.source;
  const T factor = term.factors ? term.factors[n] : T(1);
  for (Size c = 0; c < C; c += V) {
    Vec<T, V> scale = Vec<T, V>{} + factor, shift = {};
    if (f.scale) {
      scale *= at<T, V>(f.scale + c);
      shift += factor * at<T, V>(f.shift + c);
    }
    for (Size x = n * pixels; x < (n + 1) * pixels; ++x) {
      const Vec<T, V> v = scale * at<T, V>(f.values + x * f.pitch + c) + shift;
      Vec<T, V>& there = at<T, V>(result + x * pitch + c);
      there = Add ? there + v : v;
    }
  }
}

template <class T, int V>
void sum_forward(Size images, Size pixels, Size C, const Term<T>* terms, Size count, T* result,
                 Size pitch) {
  const Size t = count % 2;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < images; ++n) {
    if (t) sum_one<T, V, false>(terms[0], n, pixels, C, result, pitch);
    for (Size i = t; i < count; i += 2)
      if (i == 0)
        sum_pair<T, V, false>(terms[0], terms[1], n, pixels, C, result, pitch);
      else
        sum_pair<T, V, true>(terms[i], terms[i + 1], n, pixels, C, result, pitch);
  }
}

// For every term with a norm: gradients of scale and shift, and coefficients.
template <class T, int V>
void norms_backward(Size images, Size pixels, Size C, const Term<T>* terms, Size count,
                    const T* gradient, Size pitch) {
  const Size wide = 2 * count * C;
  std::vector<double> sums(images * wide, 0.0);
  constexpr Size LONGEST = 128;
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < images; ++n) try {
    double* of_image = sums.data() + n * wide;
    for (Size x = 0; x < pixels; x += LONGEST) {
      const Size first = n * pixels + x, some = std::min(LONGEST, pixels - x);
      bool summed = false;
      for (Size t = 0; t < count; ++t) {
        if (!terms[t].norm) continue;
        const Source<T>& s = terms[t].source;
        row_sums<T, V>(gradient + first * pitch, pitch, s.values + first * s.pitch, s.pitch, C,
                       some, summed ? nullptr : of_image, of_image + (1 + t) * C);
        summed = true;
      }
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
  std::vector<double> total(2 * C);
  for (Size t = 0; t < count; ++t) {
    if (!terms[t].norm) continue;
    std::fill(total.begin(), total.end(), 0.0);
    for (Size n = 0; n < images; ++n) {
      const double factor = terms[t].factors ? double(terms[t].factors[n]) : 1.0;
      const double* of_image = sums.data() + n * wide;
      for (Size c = 0; c < C; ++c) {
        total[c] += factor * of_image[c];
        total[C + c] += factor * of_image[(1 + t) * C + c];
      }
    }
    finish_backward(*terms[t].norm, total.data(), total.data() + C, double(images * pixels));
  }
}

// An identity hands its gradient on.
template <class T, int V>
void identity_backward(Size images, Size pixels, Size C, const T* gradient, Size pitch,
                       const Target<T>& to) {
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < images; ++n)
    for (Size c = 0; c < C; c += V)
      for (Size x = n * pixels; x < (n + 1) * pixels; ++x) {
        Vec<T, V>& there = at<T, V>(to.gradient + x * to.pitch + c);
        const Vec<T, V> v = at<T, V>(gradient + x * pitch + c);
        there = to.add ? there + v : v;
      }
}

// ------------------------------------------------------------------------------------------
// Choice of a template: blocks of as many channels as a register holds, or fewer if they divide

template <class T, class Call>
void with_block(Size divisor, const Call& call) {
  constexpr int WIDEST = REGISTER_BYTES / sizeof(T);
  if constexpr (WIDEST >= 16)
    if (divisor % 16 == 0) return call(std::integral_constant<int, 16>());
  if constexpr (WIDEST >= 8)
    if (divisor % 8 == 0) return call(std::integral_constant<int, 8>());
  if constexpr (WIDEST >= 4)
    if (divisor % 4 == 0) return call(std::integral_constant<int, 4>());
  if (divisor % 2 == 0) return call(std::integral_constant<int, 2>());
  call(std::integral_constant<int, 1>());
}

template <class T, class Call>
void with_half(const Grid& s, const Call& call) {
  with_block<T>(s.channels, [&](auto block) {
    if (s.kernel == 3)
      call(block, std::integral_constant<int, 3>());
    else
      call(block, std::integral_constant<int, 5>());
  });
}

}  // namespace

using T = SCALAR;

extern "C" int half_forward(const Half<T>* h, T* result, const Norm<T>* norm) {
  return completed([&] {
    with_half<T>(h->grid, [&](auto v, auto k) {
      half_forward<T, v.value, k.value>(*h, result, *norm);
    });
  });
}

extern "C" int half_backward(const Half<T>* h, const T* result, const Reached<T>* r,
                             const Target<T>* to, const Norm<T>* norm, T* to_depthwise,
                             T* to_pointwise) {
  return completed([&] {
    with_half<T>(h->grid, [&](auto v, auto k) {
      half_backward<T, v.value, k.value>(*h, result, *r, *to, norm, to_depthwise,
                                         to_pointwise);
    });
  });
}

extern "C" int project_forward(const Projection<T>* p, double* sums) {
  return completed([&] {
    with_block<T>(p->divisor(), [&](auto v) { project_forward<T, v.value>(*p, sums); });
  });
}

extern "C" int project_backward(const Projection<T>* p, const Target<T>* to) {
  return completed([&] {
    with_block<T>(p->divisor(), [&](auto v) { project_backward<T, v.value>(*p, *to); });
  });
}

extern "C" int finish(const Norm<T>* norm, const double* sums, Size images, Size total,
                      Size start, double count) {
  return completed([&] {
    finish<T>(*norm, sums, group_count(images), total, start, count);
  });
}

extern "C" int pool_forward(const Grid* s, Size maximum, const Source<T>* source,
                            T* result) {
  return completed([&] {
    with_block<T>(s->channels,
                  [&](auto v) { pool_forward<T, v.value>(*s, maximum, *source, result); });
  });
}

extern "C" int pool_backward(const Grid* s, Size maximum, const Source<T>* source,
                             const T* result, const Reached<T>* r,
                             const Target<T>* to) {
  return completed([&] {
    with_block<T>(s->channels, [&](auto v) {
      pool_backward<T, v.value>(*s, maximum, *source, result, *r, *to);
    });
  });
}

extern "C" int sum_forward(Size images, Size pixels, Size C, const Term<T>* terms,
                           Size count, T* result, Size pitch) {
  return completed([&] {
    with_block<T>(C, [&](auto v) {
      sum_forward<T, v.value>(images, pixels, C, terms, count, result, pitch);
    });
  });
}

extern "C" int norms_backward(Size images, Size pixels, Size C, const Term<T>* terms,
                              Size count, const T* gradient, Size pitch) {
  return completed([&] {
    with_block<T>(C, [&](auto v) {
      norms_backward<T, v.value>(images, pixels, C, terms, count, gradient, pitch);
    });
  });
}

extern "C" int identity_backward(Size images, Size pixels, Size C, const T* gradient,
                                 Size pitch, const Target<T>* to) {
  return completed([&] {
    with_block<T>(C, [&](auto v) {
      identity_backward<T, v.value>(images, pixels, C, gradient, pitch, *to);
    });
  });
}
