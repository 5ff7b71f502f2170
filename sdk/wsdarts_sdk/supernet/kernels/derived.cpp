// Kernels of a training step of a derived network, for the CPU.
//
// A batch norm is not a pass over memory: the convolution before it sums Σy and Σy², and whoever
// reads y applies scale and shift by channel (`Source`). Going back, the gradient of y through its
// norm is a·s·g + b·y + c by channel, where g is the gradient of what it was added to and s the
// image's factor of drop path (`Reached`).
//
// ReLU, norm and padding happen while rows of a source are copied into a ring of a few rows in the
// first-level cache. The depthwise result is never kept: the backward pass computes it again, which
// costs less than writing and reading it.
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
  const T* values;  // N×H×W×C with pixels `pitch` apart
  Size pitch;
  const T* scale;  // null: the values as they are
  const T* shift;
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
};

// The gradient of a result y: a·s·g + b·y + c; without coefficients s·g.
template <class T>
struct Reached {
  const T* gradient;
  Size pitch;
  const T* coefficients;  // a, b and c, each `wide` after the one before; or null
  Size wide;
  const T* factors;  // of each image; or null
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

// Copy pixels, `step` apart, with norm and ReLU, next to each other.
template <class T, int V, bool Relu>
void read_pixels(const Source<T>& s, Size first, Size step, Size pixels, Size C, T* out) {
  for (Size c = 0; c < C; c += V) {
    const T* in = s.values + first * s.pitch + c;
    if (s.scale) {
      const Vec<T, V> scale = at<T, V>(s.scale + c), shift = at<T, V>(s.shift + c);
      for (Size x = 0; x < pixels; ++x) {
        const Vec<T, V> v = at<T, V>(in + x * step * s.pitch) * scale + shift;
        at<T, V>(out + x * C + c) = Relu ? relu(v) : v;
      }
    } else {
      for (Size x = 0; x < pixels; ++x) {
        const Vec<T, V> v = at<T, V>(in + x * step * s.pitch);
        at<T, V>(out + x * C + c) = Relu ? relu(v) : v;
      }
    }
  }
}

template <class T, int V>
void reached_pixels(const Reached<T>& r, Size image, Size first, const T* y, Size y_pitch,
                    Size pixels, Size C, T* out, Size out_pitch) {
  const T factor = r.factors ? r.factors[image] : T(1);
  for (Size k = 0; k < C; k += V) {
    const T* g = r.gradient + first * r.pitch + k;
    if (!r.coefficients) {
      for (Size p = 0; p < pixels; ++p)
        at<T, V>(out + p * out_pitch + k) = factor * at<T, V>(g + p * r.pitch);
      continue;
    }
    const Vec<T, V> a = factor * at<T, V>(r.coefficients + k);
    const Vec<T, V> b = at<T, V>(r.coefficients + r.wide + k);
    const Vec<T, V> c = at<T, V>(r.coefficients + 2 * r.wide + k);
    for (Size p = 0; p < pixels; ++p)
      at<T, V>(out + p * out_pitch + k) =
          a * at<T, V>(g + p * r.pitch) + (b * at<T, V>(y + p * y_pitch + k) + c);
  }
}

// Write what passes the ReLU, and add up Σg and Σg·y of a source's own norm.
template <class T, int V>
void send_own_pixels(const Target<T>& to, const Source<T>& source, Size first, const T* found,
                     const T* seen, Size pixels, Size C, double* sums, double* products) {
  for (Size c = 0; c < C; c += V) {
    Vec<T, V> sum = {}, product = {};
    T* out = to.gradient + first * to.pitch + c;
    const T* y = source.values + first * source.pitch + c;
    for (Size x = 0; x < pixels; ++x) {
      const Vec<T, V> v = at<T, V>(found + x * C + c);
      const Vec<T, V> passed = at<T, V>(seen + x * C + c) > 0 ? v : Vec<T, V>{};
      sum += passed;
      product += passed * at<T, V>(y + x * source.pitch);
      at<T, V>(out + x * to.pitch) = passed;
    }
    at<double, V>(sums + c) += __builtin_convertvector(sum, Vec<double, V>);
    at<double, V>(products + c) += __builtin_convertvector(product, Vec<double, V>);
  }
}

// Write or add what passes the ReLU: `seen` is what came out of it.
template <class T, int V, bool Relu>
void send_pixels(const Target<T>& to, Size first, Size step, const T* found, const T* seen,
                 Size pixels, Size C) {
  for (Size c = 0; c < C; c += V) {
    T* out = to.gradient + first * to.pitch + c;
    for (Size x = 0; x < pixels; ++x) {
      Vec<T, V> v = at<T, V>(found + x * C + c);
      if (Relu) v = at<T, V>(seen + x * C + c) > 0 ? v : Vec<T, V>{};
      Vec<T, V>& there = at<T, V>(out + x * step * to.pitch);
      there = to.add ? there + v : v;
    }
  }
}

// ------------------------------------------------------------------------------------------
// ReLU, depthwise and pointwise convolution

// One row of a depthwise convolution of K rows; `w` is taps × C. Dense: stride and dilation are 1.
template <class T, int V, int K, bool Dense>
void depthwise_row(const T* const* rows, const T* w, Size step, Size tap, Size columns, Size C,
                   T* out) {
  constexpr int X = 8;
  for (Size c = 0; c < C; c += V) {
    Size x = 0;
    for (; x + X <= columns; x += X) {
      Vec<T, V> sum[X] = {};
      for (int i = 0; i < K; ++i) {
        const T* in = rows[i] + x * (Dense ? C : step) + c;
        if (Dense) {
          Vec<T, V> seen[X + K - 1];
#pragma GCC unroll 16
          for (int q = 0; q < X + K - 1; ++q) seen[q] = at<T, V>(in + q * C);
#pragma GCC unroll 8
          for (int j = 0; j < K; ++j) {
            const Vec<T, V> weight = at<T, V>(w + (i * K + j) * C + c);
#pragma GCC unroll 8
            for (int q = 0; q < X; ++q) sum[q] += seen[q + j] * weight;
          }
        } else {
#pragma GCC unroll 8
          for (int j = 0; j < K; ++j) {
            const Vec<T, V> weight = at<T, V>(w + (i * K + j) * C + c);
#pragma GCC unroll 8
            for (int q = 0; q < X; ++q) sum[q] += at<T, V>(in + q * step + j * tap) * weight;
          }
        }
      }
#pragma GCC unroll 8
      for (int q = 0; q < X; ++q) at<T, V>(out + (x + q) * C + c) = sum[q];
    }
    for (; x < columns; ++x) {
      Vec<T, V> sum = {};
      for (int i = 0; i < K; ++i)
        for (int j = 0; j < K; ++j)
          sum += at<T, V>(rows[i] + x * step + j * tap + c) * at<T, V>(w + (i * K + j) * C + c);
      at<T, V>(out + x * C + c) = sum;
    }
  }
}

// total[tap][c] += Σ_x g[x][c] · rows[x·stride + tap][c]; pixels of g are `step` apart, too.
template <class T, int V, int K>
void depthwise_weights_row(const T* const* rows, const T* g, Size step, Size tap, Size columns,
                           Size C, T* total) {
  constexpr int X = K == 3 ? 4 : 2;
  for (Size c = 0; c < C; c += V)
    for (int i = 0; i < K; ++i) {
      const T* in = rows[i] + c;
      Vec<T, V> sum[K][X] = {};
      Size x = 0;
      for (; x + X <= columns; x += X)
#pragma GCC unroll 4
        for (int q = 0; q < X; ++q) {
          const Vec<T, V> v = at<T, V>(g + (x + q) * step + c);
#pragma GCC unroll 8
          for (int j = 0; j < K; ++j) sum[j][q] += v * at<T, V>(in + (x + q) * step + j * tap);
        }
      for (; x < columns; ++x) {
        const Vec<T, V> v = at<T, V>(g + x * step + c);
        for (int j = 0; j < K; ++j) sum[j][0] += v * at<T, V>(in + x * step + j * tap);
      }
      for (int j = 0; j < K; ++j) {
        Vec<T, V> all = sum[j][0];
        for (int q = 1; q < X; ++q) all += sum[j][q];
        at<T, V>(total + (i * K + j) * C + c) += all;
      }
    }
}

template <class T>
struct Half {
  Grid grid;
  Source<T> source;
  const T* depthwise;  // C×K×K
  const T* pointwise;  // C×C, outputs first
};

// A ring of padded rows of one image: row r lies at r modulo their number; others are zero.
template <class T>
struct Ring {
  T* memory;
  Size slots, width;
  T* slot(Size row) const { return memory + (row % slots) * width; }
  const T* zero() const { return memory + slots * width; }
  void clear() const { std::fill(memory, memory + (slots + 1) * width, T(0)); }
};

template <class T, int V, int K>
void half_forward(const Half<T>& h, T* result, const Norm<T>& norm) {
  const Grid& s = h.grid;
  const Size C = s.channels, edge = s.edge(), groups = group_count(s.images);
  const Size step = s.stride * C, tap = s.dilation * C;
  const bool dense = s.stride == 1 && s.dilation == 1;
  Numbers<T> taps(K * K * C), columns(C * C);
  transpose(h.depthwise, C, Size(K * K), taps.data());
  transpose(h.pointwise, C, C, columns.data());
  std::vector<double> sums(groups * 2 * C, 0.0);
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size group = 0; group < groups; ++group) try {
    const Size first = group * group_size(s.images);
    const Size last = std::min(first + group_size(s.images), s.images);
    Ring<T> ring{nullptr, 2 * edge + 1, (s.width + 2 * edge) * C};
    ring.memory = scratch<T>(0, (ring.slots + 1) * ring.width);
    ring.clear();
    T* middle = scratch<T>(1, s.columns * C);
    double* sum = sums.data() + group * 2 * C;
    for (Size n = first; n < last; ++n) {
      Size loaded = 0;
      for (Size y = 0; y < s.rows; ++y) {
        const Size top = y * s.stride - edge;
        for (; loaded < std::min(top + 2 * edge + 1, s.height); ++loaded)
          read_pixels<T, V, true>(h.source, (n * s.height + loaded) * s.width, 1, s.width, C,
                                  ring.slot(loaded) + edge * C);
        const T* rows[K];
        for (int i = 0; i < K; ++i) {
          const Size row = top + i * s.dilation;
          rows[i] = row >= 0 && row < s.height ? ring.slot(row) : ring.zero();
        }
        if (dense)
          depthwise_row<T, V, K, true>(rows, taps.data(), step, tap, s.columns, C, middle);
        else
          depthwise_row<T, V, K, false>(rows, taps.data(), step, tap, s.columns, C, middle);
        T* out = result + (n * s.rows + y) * s.columns * C;
        product<T, V>(middle, C, columns.data(), out, C, C, C, s.columns);
        row_sums<T, V>(out, C, out, C, C, s.columns, sum, sum + C);
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
  const Size C = s.channels, edge = s.edge(), groups = group_count(s.images), K2 = K * K;
  const Size step = s.stride * C, tap = s.dilation * C, row_size = s.columns * C;
  const bool dense = s.stride == 1 && s.dilation == 1;
  const Size block = std::max<Size>(1, 64 / s.columns);  // rows of one product for the weights
  Numbers<T> taps(K2 * C), flipped(K2 * C);
  transpose(h.depthwise, C, K2, taps.data());
  for (Size t = 0; t < K2; ++t)
    std::copy_n(taps.data() + t * C, C, flipped.data() + (K2 - 1 - t) * C);
  Numbers<T> of_taps(groups * K2 * C, T(0)), of_columns(groups * C * C, T(0));
  std::vector<double> sums(groups * 2 * C, 0.0);
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size group = 0; group < groups; ++group) try {
    const Size first = group * group_size(s.images);
    const Size last = std::min(first + group_size(s.images), s.images);
    Ring<T> ring{nullptr, 2 * edge + 1, (s.width + 2 * edge) * C}, spread = ring;
    ring.memory = scratch<T>(0, (ring.slots + 1) * ring.width);
    spread.memory = scratch<T>(2, (ring.slots + 1) * ring.width);
    ring.clear();
    spread.clear();
    T* outers = scratch<T>(1, block * row_size);
    T* middles = scratch<T>(3, block * row_size);
    T* found = scratch<T>(4, s.width * C);
    T* own_taps = of_taps.data() + group * K2 * C;
    T* own_columns = of_columns.data() + group * C * C;
    double* sum = sums.data() + group * 2 * C;
    for (Size n = first; n < last; ++n) {
      Size loaded = 0, held = 0;
      for (Size q = 0; q < s.height + edge; ++q) {
        for (; loaded < std::min(q + edge + 1, s.height); ++loaded)
          read_pixels<T, V, true>(h.source, (n * s.height + loaded) * s.width, 1, s.width, C,
                                  ring.slot(loaded) + edge * C);
        const Size y = q / s.stride;
        if (q % s.stride == 0 && y < s.rows) {
          const T* rows[K];
          for (int i = 0; i < K; ++i) {
            const Size row = q - edge + i * s.dilation;
            rows[i] = row >= 0 && row < s.height ? ring.slot(row) : ring.zero();
          }
          T* outer_row = outers + held * row_size;
          T* middle = middles + held * row_size;
          const Size place = (n * s.rows + y) * s.columns;
          reached_pixels<T, V>(reached, n, place, result + place * C, C, s.columns, C, outer_row,
                               C);
          if (dense)
            depthwise_row<T, V, K, true>(rows, taps.data(), step, tap, s.columns, C, middle);
          else
            depthwise_row<T, V, K, false>(rows, taps.data(), step, tap, s.columns, C, middle);
          T* inner = spread.slot(q) + edge * C;
          product<T, V>(outer_row, C, h.pointwise, inner, step, C, C, s.columns);
          depthwise_weights_row<T, V, K>(rows, inner, step, tap, s.columns, C, own_taps);
          if (++held == block || y + 1 == s.rows) {
            outer<T, V>(outers, C, middles, C, own_columns, C, C, held * s.columns);
            held = 0;
          }
        }
        const Size r = q - edge;
        if (r < 0) continue;
        const T* rows[K];
        for (int i = 0; i < K; ++i) {
          const Size row = r - edge + i * s.dilation;
          const bool there = row >= 0 && row % s.stride == 0 && row / s.stride < s.rows;
          rows[i] = there ? spread.slot(row) : spread.zero();
        }
        if (s.dilation == 1)
          depthwise_row<T, V, K, true>(rows, flipped.data(), C, C, s.width, C, found);
        else
          depthwise_row<T, V, K, false>(rows, flipped.data(), C, tap, s.width, C, found);
        const Size place = (n * s.height + r) * s.width;
        const T* seen = ring.slot(r) + edge * C;
        if (norm)
          send_own_pixels<T, V>(to, h.source, place, found, seen, s.width, C, sum, sum + C);
        else
          send_pixels<T, V, true>(to, place, 1, found, seen, s.width, C);
      }
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
  add_groups(of_columns.data(), groups, C * C, to_pointwise);
  Numbers<T> total(K2 * C);
  add_groups(of_taps.data(), groups, K2 * C, total.data());
  transpose(total.data(), K2, C, to_depthwise);
  if (!norm) return;
  for (Size g = 1; g < groups; ++g)
    for (Size i = 0; i < 2 * C; ++i) sums[i] += sums[g * 2 * C + i];
  finish_backward(*norm, sums.data(), sums.data() + C, double(s.images * s.height * s.width));
}

// ------------------------------------------------------------------------------------------
// 1×1 convolutions of one source: the inputs of cells, and the halves of a factorised reduction

// One of several convolutions that read the same pixels; their outputs lie next to each other.
template <class T>
struct Part {
  const T* weights;  // outputs × C
  T* to_weights;
  Size outputs;
  Reached<T> reached;
};

template <class T>
struct Projection {
  Grid grid;
  Source<T> source;
  Size offset;  // first row and column of the grid
  Size total;   // channels of the result
  Size start;   // first of these convolutions' among them
  Size relu;
  Size count;
  Part<T>* parts;
  Size outputs() const {
    Size sum = 0;
    for (Size i = 0; i < count; ++i) sum += parts[i].outputs;
    return sum;
  }
};

// The pixels of one image that are computed at a time, in the source and in the result.
struct Strip {
  Size first, place, pixels, missing;
};

template <class T, class Work>
void for_strips(const Projection<T>& p, Size n, const Work& work) {
  const Grid& s = p.grid;
  constexpr Size LONGEST = 64;
  if (s.stride == 1) {
    for (Size x = 0; x < s.area(); x += LONGEST) {
      const Size place = n * s.area() + x;
      work(Strip{place, place, std::min(LONGEST, s.area() - x), 0});
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

template <class T, int V>
void read_strip(const Projection<T>& p, const Strip& strip, T* seen) {
  const Size C = p.grid.channels;
  if (p.relu)
    read_pixels<T, V, true>(p.source, strip.first, p.grid.stride, strip.pixels, C, seen);
  else
    read_pixels<T, V, false>(p.source, strip.first, p.grid.stride, strip.pixels, C, seen);
  std::fill(seen + strip.pixels * C, seen + (strip.pixels + strip.missing) * C, T(0));
}

// Sums of Σy and Σy² are written to `sums`, groups × 2 × total.
template <class T, int V>
void project_forward(const Projection<T>& p, T* result, double* sums) {
  const Grid& s = p.grid;
  const Size C = s.channels, outputs = p.outputs(), groups = group_count(s.images);
  Numbers<T> columns(C * outputs);
  for (Size i = 0, start = 0; i < p.count; start += p.parts[i++].outputs)
    for (Size o = 0; o < p.parts[i].outputs; ++o)
      for (Size c = 0; c < C; ++c)
        columns[c * outputs + start + o] = p.parts[i].weights[o * C + c];
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size group = 0; group < groups; ++group) try {
    const Size first = group * group_size(s.images);
    const Size last = std::min(first + group_size(s.images), s.images);
    T* seen = scratch<T>(0, std::max<Size>(64, s.columns) * C);
    double* sum = sums + group * 2 * p.total + p.start;
    std::fill(sum, sum + outputs, 0.0);
    std::fill(sum + p.total, sum + p.total + outputs, 0.0);
    for (Size n = first; n < last; ++n)
      for_strips(p, n, [&](const Strip& strip) {
        read_strip<T, V>(p, strip, seen);
        const Size pixels = strip.pixels + strip.missing;
        T* out = result + strip.place * p.total + p.start;
        product<T, V>(seen, C, columns.data(), out, p.total, C, outputs, pixels);
        row_sums<T, V>(out, p.total, out, p.total, outputs, pixels, sum, sum + p.total);
      });
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
}

// No gradient is sent where the target has none.
template <class T, int V>
void project_backward(const Projection<T>& p, const T* result, const Target<T>& to) {
  const Grid& s = p.grid;
  const Size C = s.channels, outputs = p.outputs(), groups = group_count(s.images);
  Numbers<T> weights(outputs * C), found(groups * outputs * C, T(0));
  for (Size i = 0, start = 0; i < p.count; start += p.parts[i++].outputs)
    std::copy_n(p.parts[i].weights, p.parts[i].outputs * C, weights.data() + start * C);
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size group = 0; group < groups; ++group) try {
    const Size first = group * group_size(s.images);
    const Size last = std::min(first + group_size(s.images), s.images);
    const Size longest = std::max<Size>(64, s.columns);
    T* seen = scratch<T>(0, longest * C);
    T* inner = scratch<T>(1, longest * C);
    T* outers = scratch<T>(2, longest * outputs);
    for (Size n = first; n < last; ++n)
      for_strips(p, n, [&](const Strip& strip) {
        if (strip.pixels == 0) return;
        read_strip<T, V>(p, strip, seen);
        Size start = 0;
        for (Size i = 0; i < p.count; start += p.parts[i++].outputs) {
          const Part<T>& part = p.parts[i];
          reached_pixels<T, V>(part.reached, n, strip.place,
                               result + strip.place * p.total + p.start + start, p.total,
                               strip.pixels, part.outputs, outers + start, outputs);
        }
        outer<T, V>(outers, outputs, seen, C, found.data() + group * outputs * C, outputs, C,
                    strip.pixels);
        if (!to.gradient) return;
        product<T, V>(outers, outputs, weights.data(), inner, C, outputs, C, strip.pixels);
        if (p.relu)
          send_pixels<T, V, true>(to, strip.first, s.stride, inner, seen, strip.pixels, C);
        else
          send_pixels<T, V, false>(to, strip.first, s.stride, inner, seen, strip.pixels, C);
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

template <class T, int V>
void pad_image(const Grid& s, const Source<T>& source, Size n, T fill, T* padded) {
  const Size C = s.channels, width = (s.width + 2) * C;
  std::fill(padded, padded + (s.height + 2) * width, fill);
  for (Size y = 0; y < s.height; ++y)
    read_pixels<T, V, false>(source, (n * s.height + y) * s.width, 1, s.width, C,
                             padded + (y + 1) * width + C);
}

// Rows or columns of a window that lie in the image.
inline Size inside(Size place, Size stride, Size extent) {
  return std::min<Size>(place * stride + 2, extent) - std::max<Size>(place * stride - 1, 0);
}

template <class T, int V>
void pool_forward(const Grid& s, bool maximum, const Source<T>& source, T* result) {
  const Size C = s.channels, width = (s.width + 2) * C;
  const T fill = maximum ? -std::numeric_limits<T>::infinity() : T(0);
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < s.images; ++n) try {
    T* padded = scratch<T>(0, (s.height + 2) * width);
    pad_image<T, V>(s, source, n, fill, padded);
    for (Size y = 0; y < s.rows; ++y)
      for (Size x = 0; x < s.columns; ++x) {
        const T* in = padded + y * s.stride * width + x * s.stride * C;
        T* out = result + ((n * s.rows + y) * s.columns + x) * C;
        const T share = T(1) / T(inside(y, s.stride, s.height) * inside(x, s.stride, s.width));
        for (Size c = 0; c < C; c += V) {
          Vec<T, V> found = Vec<T, V>{} + fill;
          for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) {
              const Vec<T, V> v = at<T, V>(in + i * width + j * C + c);
              // A NaN wins, as in torch.
              found = maximum ? (found >= v ? found : (v != v ? v : (found != found ? found : v)))
                              : found + v;
            }
          at<T, V>(out + c) = maximum ? found : found * share;
        }
      }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
}

template <class T, int V>
void pool_backward(const Grid& s, bool maximum, const Source<T>& source, const T* result,
                   const Reached<T>& reached, const Target<T>& to) {
  const Size C = s.channels, width = (s.width + 2) * C;
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < s.images; ++n) try {
    T* padded = scratch<T>(0, (s.height + 2) * width);
    if (maximum)
      pad_image<T, V>(s, source, n, -std::numeric_limits<T>::infinity(), padded);
    T* spread = scratch<T>(2, (s.height + 2) * width);
    std::fill(spread, spread + (s.height + 2) * width, T(0));
    T* total = scratch<T>(1, s.columns * C);
    for (Size y = 0; y < s.rows; ++y) {
      const Size place = (n * s.rows + y) * s.columns;
      reached_pixels<T, V>(reached, n, place, result, C, s.columns, C, total, C);
      for (Size x = 0; x < s.columns; ++x) {
        const Size corner = y * s.stride * width + x * s.stride * C;
        const T share = T(1) / T(inside(y, s.stride, s.height) * inside(x, s.stride, s.width));
        for (Size c = 0; c < C; c += V) {
          Vec<T, V> left = at<T, V>(total + x * C + c);
          const Vec<T, V> even = left * share;
          const Vec<T, V> top = maximum ? at<T, V>(result + (place + x) * C + c) : Vec<T, V>{};
          for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) {
              const Size tap = corner + i * width + j * C + c;
              if (!maximum) {
                at<T, V>(spread + tap) += even;
                continue;
              }
              // The first of equal maxima takes the gradient, as in torch.
              const auto winner = at<T, V>(padded + tap) == top;
              at<T, V>(spread + tap) += winner ? left : Vec<T, V>{};
              left = winner ? Vec<T, V>{} : left;
            }
        }
      }
    }
    for (Size y = 0; y < s.height; ++y)
      send_pixels<T, V, false>(to, (n * s.height + y) * s.width, 1,
                               spread + (y + 1) * width + C, static_cast<const T*>(nullptr),
                               s.width, C);
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

}  // namespace

// ------------------------------------------------------------------------------------------
// What Python calls: one function each for float and double

#define EXPORT(T, NAME)                                                                          \
  extern "C" int half_forward_##NAME(const Half<T>* h, T* result, const Norm<T>* norm) {         \
    return completed([&] {                                                                       \
      WITH_BLOCK(T, h->grid.channels, WITH_KERNEL(h->grid.kernel,                                \
                 (half_forward<T, V, K>(*h, result, *norm))));                                   \
    });                                                                                          \
  }                                                                                              \
  extern "C" int half_backward_##NAME(const Half<T>* h, const T* result, const Reached<T>* r,    \
                                      const Target<T>* to, const Norm<T>* norm, T* to_depthwise, \
                                      T* to_pointwise) {                                         \
    return completed([&] {                                                                       \
      WITH_BLOCK(T, h->grid.channels, WITH_KERNEL(h->grid.kernel,                                \
                 (half_backward<T, V, K>(*h, result, *r, *to, norm, to_depthwise,                \
                                         to_pointwise))));                                       \
    });                                                                                          \
  }                                                                                              \
  extern "C" int project_forward_##NAME(const Projection<T>* p, T* result, double* sums) {       \
    return completed([&] {                                                                       \
      Size divisor = p->grid.channels;                                                           \
      for (Size i = 0; i < p->count; ++i) divisor |= p->parts[i].outputs;                        \
      WITH_BLOCK(T, divisor, (project_forward<T, V>(*p, result, sums)));                         \
    });                                                                                          \
  }                                                                                              \
  extern "C" int project_backward_##NAME(const Projection<T>* p, const T* result,                \
                                         const Target<T>* to) {                                  \
    return completed([&] {                                                                       \
      Size divisor = p->grid.channels;                                                           \
      for (Size i = 0; i < p->count; ++i) divisor |= p->parts[i].outputs;                        \
      WITH_BLOCK(T, divisor, (project_backward<T, V>(*p, result, *to)));                         \
    });                                                                                          \
  }                                                                                              \
  extern "C" int finish_##NAME(const Norm<T>* norm, const double* sums, Size images, Size total, \
                               Size start, double count) {                                       \
    return completed([&] {                                                                       \
      finish<T>(*norm, sums, group_count(images), total, start, count);                          \
    });                                                                                          \
  }                                                                                              \
  extern "C" int pool_forward_##NAME(const Grid* s, Size maximum, const Source<T>* source,       \
                                     T* result) {                                                \
    return completed([&] {                                                                       \
      WITH_BLOCK(T, s->channels, (pool_forward<T, V>(*s, maximum, *source, result)));            \
    });                                                                                          \
  }                                                                                              \
  extern "C" int pool_backward_##NAME(const Grid* s, Size maximum, const Source<T>* source,      \
                                      const T* result, const Reached<T>* r,                      \
                                      const Target<T>* to) {                                     \
    return completed([&] {                                                                       \
      WITH_BLOCK(T, s->channels, (pool_backward<T, V>(*s, maximum, *source, result, *r, *to)));  \
    });                                                                                          \
  }                                                                                              \
  extern "C" int sum_forward_##NAME(Size images, Size pixels, Size C, const Term<T>* terms,      \
                                    Size count, T* result, Size pitch) {                         \
    return completed([&] {                                                                       \
      WITH_BLOCK(T, C, (sum_forward<T, V>(images, pixels, C, terms, count, result, pitch)));     \
    });                                                                                          \
  }                                                                                              \
  extern "C" int norms_backward_##NAME(Size images, Size pixels, Size C, const Term<T>* terms,   \
                                       Size count, const T* gradient, Size pitch) {              \
    return completed([&] {                                                                       \
      WITH_BLOCK(T, C, (norms_backward<T, V>(images, pixels, C, terms, count, gradient, pitch)));\
    });                                                                                          \
  }                                                                                              \
  extern "C" int identity_backward_##NAME(Size images, Size pixels, Size C, const T* gradient,   \
                                          Size pitch, const Target<T>* to) {                     \
    return completed([&] {                                                                       \
      WITH_BLOCK(T, C, (identity_backward<T, V>(images, pixels, C, gradient, pitch, *to)));      \
    });                                                                                          \
  }

EXPORT(float, float)
EXPORT(double, double)
