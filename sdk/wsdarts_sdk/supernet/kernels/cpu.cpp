// Kernels of the supernet for the CPU.
//
// Every image tensor is N×H×W×C with the channels adjacent. A merged tensor has one more axis
// in front, M×N×H×W×C: one slice for each branch of the same operation that leaves a source.
// A source may be a slice of a wider tensor (a node inside its cell's output): its pixels are
// then `pitch` elements apart.
//
// What makes these fast is what they do not write to memory: ReLU, normalisation and padding
// happen while a source is copied into a small padded buffer, the depthwise result of a row is
// multiplied by the pointwise weights while it is in the first-level cache, and the gradient of
// a whole branch stays in one thread's buffers.
//
// Sums are kept for each image and added in the images' order in double precision, so results
// do not depend on the number of threads.

#include "primitives.h"

namespace {

// ------------------------------------------------------------------------------------------
// Shapes, padding, statistics

struct Shape {
  Size branches, images, height, width, channels;  // of the source
  Size pitch;                                      // of the source's pixels
  Size rows, columns;                              // of the result
  Size kernel, stride, dilation;
  Size padding() const { return dilation * (kernel - 1) / 2; }
  Size padded_width() const { return width + 2 * padding(); }
  Size padded_area() const { return (height + 2 * padding()) * padded_width(); }
  Size area() const { return rows * columns; }
};

// What happens to a source before its convolution: ReLU, after a batch norm or not.
template <class T>
struct Norm {
  const T* mean;  // null: no normalisation
  const T* rstd;
};

// Copy one image into a padded buffer; `fill` outside.
template <class T, int V, bool Relu>
void pad(const Shape& s, const T* image, Norm<T> norm, T fill, T* padded) {
  const Size edge = s.padding(), width = s.padded_width() * s.channels, inner = s.width * s.channels;
  std::fill(padded, padded + edge * width, fill);
  T* out = padded + edge * width;
  for (Size y = 0; y < s.height; ++y, out += width) {
    std::fill(out, out + edge * s.channels, fill);
    std::fill(out + edge * s.channels + inner, out + width, fill);
    for (Size c = 0; c < s.channels; c += V) {
      const T* in = image + y * s.width * s.pitch + c;
      T* to = out + edge * s.channels + c;
      Vec<T, V> scale = Vec<T, V>{} + T(1), shift = {};
      if (norm.mean) {
        scale = at<T, V>(norm.rstd + c);
        shift = -at<T, V>(norm.mean + c) * scale;
      }
      for (Size x = 0; x < s.width; ++x, in += s.pitch, to += s.channels) {
        Vec<T, V> v = at<T, V>(in);
        if (norm.mean) v = v * scale + shift;
        at<T, V>(to) = Relu ? relu(v) : v;
      }
    }
  }
  std::fill(out, out + edge * width, fill);
}

// Batch norm without affine parameters over `count` pixels: mean and 1/√(variance + ε) of each
// channel, and the running statistics. `sums` holds, for each image, Σy and then Σy²; branches
// that share one result share its sums.
template <class T>
struct Statistics {
  T* mean;
  T* rstd;
  T* running_mean;
  T* running_variance;
  double momentum, epsilon;
  Size training, shared;
};

template <class T>
void finish(const Statistics<T>& s, const double* sums, Size branches, Size images, Size channels,
            double count) {
  for (Size m = 0; m < branches; ++m)
    for (Size c = 0; c < channels; ++c) {
      const Size k = m * channels + c;
      if (!s.training) {
        s.mean[k] = s.running_mean[k];
        s.rstd[k] = T(1 / std::sqrt(double(s.running_variance[k]) + s.epsilon));
        continue;
      }
      double sum = 0, square = 0;
      for (Size n = 0; n < images; ++n) {
        const double* of_image = sums + ((s.shared ? 0 : m) * images + n) * 2 * channels;
        sum += of_image[c];
        square += of_image[channels + c];
      }
      const double mean = sum / count, variance = std::max(square / count - mean * mean, 0.0);
      s.mean[k] = T(mean);
      s.rstd[k] = T(1 / std::sqrt(variance + s.epsilon));
      s.running_mean[k] += T(s.momentum * (mean - s.running_mean[k]));
      s.running_variance[k] +=
          T(s.momentum * (variance * count / (count - 1) - s.running_variance[k]));
    }
}

// Add what each image found, in the images' order: found is branches × images × count.
template <class T>
void add_images(const Numbers<T>& found, Size branches, Size images, Size count, T* total) {
  for (Size m = 0; m < branches; ++m)
    for (Size i = 0; i < count; ++i) {
      double sum = 0;
      for (Size n = 0; n < images; ++n) sum += found[(m * images + n) * count + i];
      total[m * count + i] = T(sum);
    }
}

// ------------------------------------------------------------------------------------------
// ReLU, depthwise convolution, pointwise convolution

// One row of the depthwise result; `w` is taps × channels.
template <class T, int V, int K>
void depthwise_row(const Shape& s, const T* padded, Size y, const T* w, T* out) {
  const Size width = s.padded_width() * s.channels, step = s.stride * s.channels;
  const Size tap = s.dilation * s.channels;
  const T* top = padded + y * s.stride * width;
  for (Size c = 0; c < s.channels; c += V) {
    Size x = 0;
    for (; x + 4 <= s.columns; x += 4) {
      Vec<T, V> sum[4] = {};
      for (int i = 0; i < K; ++i)
        for (int j = 0; j < K; ++j) {
          const T* in = top + i * s.dilation * width + x * step + j * tap + c;
          const Vec<T, V> weight = at<T, V>(w + (i * K + j) * s.channels + c);
          for (int q = 0; q < 4; ++q) sum[q] += at<T, V>(in + q * step) * weight;
        }
      for (int q = 0; q < 4; ++q) at<T, V>(out + (x + q) * s.channels + c) = sum[q];
    }
    for (; x < s.columns; ++x) {
      Vec<T, V> sum = {};
      for (int i = 0; i < K; ++i)
        for (int j = 0; j < K; ++j)
          sum += at<T, V>(top + i * s.dilation * width + x * step + j * tap + c) *
                 at<T, V>(w + (i * K + j) * s.channels + c);
      at<T, V>(out + x * s.channels + c) = sum;
    }
  }
}

template <class T>
struct Depthwise {
  Shape shape;
  const T* source;  // N×H×W×C, or M×N×H×W×C where each branch has its own
  Size own;
  Norm<T> norm;        // of an own source, M×C
  const T* depthwise;  // M×C×K×K
  const T* pointwise;  // M×C×C, outputs first
};

template <class T>
const T* source_of(const Depthwise<T>& d, Size m, Size n) {
  return d.source + (d.own ? m * d.shape.images + n : n) * d.shape.height * d.shape.width * d.shape.pitch;
}
template <class T>
Norm<T> norm_of(const Depthwise<T>& d, Size m) {
  if (!d.norm.mean) return {nullptr, nullptr};
  return {d.norm.mean + m * d.shape.channels, d.norm.rstd + m * d.shape.channels};
}

// Weights with the taps first: M × taps × C, and M × inputs × outputs.
template <class T>
void order_weights(const Depthwise<T>& d, Numbers<T>& taps, Numbers<T>& columns) {
  const Size C = d.shape.channels, K2 = d.shape.kernel * d.shape.kernel;
  taps.resize(d.shape.branches * K2 * C);
  columns.resize(d.shape.branches * C * C);
  for (Size m = 0; m < d.shape.branches; ++m) {
    transpose(d.depthwise + m * C * K2, C, K2, taps.data() + m * K2 * C);
    transpose(d.pointwise + m * C * C, C, C, columns.data() + m * C * C);
  }
}

template <class T, int V, int K>
void depthwise_forward(const Depthwise<T>& d, T* middle, T* result, const Statistics<T>& norm) {
  const Shape& s = d.shape;
  const Size C = s.channels, row = s.columns * C, image = s.area() * C;
  Numbers<T> taps, columns;
  order_weights(d, taps, columns);
  std::vector<double> sums(s.branches * s.images * 2 * C, 0.0);
  const Size units = d.own ? s.branches * s.images : s.images;
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size unit = 0; unit < units; ++unit) try {
    const Size n = unit % s.images, first = d.own ? unit / s.images : 0;
    const Size last = d.own ? first + 1 : s.branches;
    T* padded = scratch<T>(0, s.padded_area() * C);
    pad<T, V, true>(s, source_of(d, first, n), norm_of(d, first), T(0), padded);
    for (Size m = first; m < last; ++m) {
      double* sum = sums.data() + (m * s.images + n) * 2 * C;
      T* out = result + (m * s.images + n) * image;
      for (Size y = 0; y < s.rows; ++y) {
        T* between = middle ? middle + (m * s.images + n) * image + y * row : scratch<T>(1, row);
        depthwise_row<T, V, K>(s, padded, y, taps.data() + m * K * K * C, between);
        product<T, V>(between, C, columns.data() + m * C * C, out + y * row, C, C, C, s.columns);
        row_sums<T, V>(out + y * row, C, out + y * row, C, C, s.columns, sum, sum + C);
      }
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
  finish(norm, sums.data(), s.branches, s.images, C, double(s.images * s.area()));
}

// The gradient of a result y through its batch norm is a·g + b·y + c, channel by channel, where g
// is the gradient of what the norm's output was added to.
template <class T>
struct OutputGradient {
  const T* const* gradient;  // of each branch: N×H×W×C with pixels `pitch` apart
  Size pitch;
  const T* coefficients;  // M×3×C: a, b and c
};

template <class T, int V>
void output_gradient_row(const OutputGradient<T>& u, Size m, const T* g, const T* y, Size channels, Size pixels,
                  T* out) {
  const T* coefficients = u.coefficients + m * 3 * channels;
  for (Size k = 0; k < channels; k += V) {
    const Vec<T, V> a = at<T, V>(coefficients + k), b = at<T, V>(coefficients + channels + k);
    const Vec<T, V> c = at<T, V>(coefficients + 2 * channels + k);
    for (Size p = 0; p < pixels; ++p)
      at<T, V>(out + p * channels + k) =
          a * at<T, V>(g + p * u.pitch + k) + (b * at<T, V>(y + p * channels + k) + c);
  }
}

// total[tap][c] += Σ_p inner[p][c] · padded[p·stride + tap][c] over one row.
template <class T, int V, int K>
void depthwise_weights_row(const Shape& s, const T* padded, Size y, const T* g, T* total) {
  const Size width = s.padded_width() * s.channels, step = s.stride * s.channels;
  const T* top = padded + y * s.stride * width;
  for (Size c = 0; c < s.channels; c += V)
    for (int i = 0; i < K; ++i) {
      const T* in = top + i * s.dilation * width + c;
      Vec<T, V> sum[K];
      for (int j = 0; j < K; ++j) sum[j] = at<T, V>(total + (i * K + j) * s.channels + c);
      for (Size x = 0; x < s.columns; ++x) {
        const Vec<T, V> v = at<T, V>(g + x * s.stride * s.channels + c);
        for (int j = 0; j < K; ++j)
          sum[j] += v * at<T, V>(in + x * step + j * s.dilation * s.channels);
      }
      for (int j = 0; j < K; ++j) at<T, V>(total + (i * K + j) * s.channels + c) = sum[j];
    }
}

// Where the gradient of a source goes: added to a shared one, or written for an own one together
// with the sums that its batch norm's gradient needs.
template <class T>
struct SourceGradient {
  T* gradient;
  Size pitch;
  double* sums;  // own sources only: M × images × 2C, Σg and Σg·y
};

template <class T>
struct WeightGradient {
  T* depthwise;  // null: not asked for
  T* pointwise;
};

template <class T, int V, int K>
void depthwise_backward(const Depthwise<T>& d, const T* middle, const T* result,
                        const OutputGradient<T>& up, const SourceGradient<T>& to,
                        const WeightGradient<T>& weights) {
  const Shape& s = d.shape;
  const Size C = s.channels, row = s.columns * C, image = s.area() * C, K2 = K * K;
  const bool wanted = weights.pointwise != nullptr;
  // The transposed convolution is a convolution with stride 1 of the spread-out gradient.
  Shape back = s;
  back.stride = 1;
  back.rows = s.height;
  back.columns = s.width;
  Numbers<T> flipped(s.branches * K2 * C);
  for (Size m = 0; m < s.branches; ++m)
    for (Size c = 0; c < C; ++c)
      for (Size t = 0; t < K2; ++t)
        flipped[(m * K2 + K2 - 1 - t) * C + c] = d.depthwise[(m * C + c) * K2 + t];
  Numbers<T> taps(wanted ? s.branches * s.images * K2 * C : 0, T(0));
  Numbers<T> columns(wanted ? s.branches * s.images * C * C : 0, T(0));
  const Size units = d.own ? s.branches * s.images : s.images;
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size unit = 0; unit < units; ++unit) try {
    const Size n = unit % s.images, first = d.own ? unit / s.images : 0;
    const Size last = d.own ? first + 1 : s.branches;
    const Size edge = s.padding(), width = s.padded_width() * C;
    T* padded = scratch<T>(0, s.padded_area() * C);
    pad<T, V, true>(s, source_of(d, first, n), norm_of(d, first), T(0), padded);
    T* spread = scratch<T>(2, s.padded_area() * C);
    std::fill(spread, spread + s.padded_area() * C, T(0));
    T* outer_row = scratch<T>(1, row);
    T* inner_row = scratch<T>(3, std::max(row, s.width * C));
    for (Size m = first; m < last; ++m) {
      const Size place = m * s.images + n;
      for (Size y = 0; y < s.rows; ++y) {
        output_gradient_row<T, V>(up, m, up.gradient[m] + (n * s.area() + y * s.columns) * up.pitch,
                           result + place * image + y * row, C, s.columns, outer_row);
        T* inner = spread + (edge + y * s.stride) * width + edge * C;
        product<T, V>(outer_row, C, d.pointwise + m * C * C, inner, s.stride * C, C, C, s.columns);
        if (wanted) {
          outer<T, V>(outer_row, C, middle + place * image + y * row, C,
                      columns.data() + place * C * C, C, C, s.columns);
          depthwise_weights_row<T, V, K>(s, padded, y, inner, taps.data() + place * K2 * C);
        }
      }
      for (Size y = 0; y < s.height; ++y) {
        depthwise_row<T, V, K>(back, spread, y, flipped.data() + m * K2 * C, inner_row);
        const T* seen = padded + (edge + y) * width + edge * C;
        T* out = to.gradient + ((d.own ? place : n) * s.height + y) * s.width * to.pitch;
        for (Size c = 0; c < C; c += V)
          for (Size x = 0; x < s.width; ++x) {
            const Vec<T, V> v = at<T, V>(inner_row + x * C + c);
            const Vec<T, V> passed = at<T, V>(seen + x * C + c) > 0 ? v : Vec<T, V>{};
            Vec<T, V>& there = at<T, V>(out + x * to.pitch + c);
            there = d.own ? passed : there + passed;
          }
        if (d.own)
          row_sums<T, V>(out, to.pitch, source_of(d, m, n) + y * s.width * s.pitch, s.pitch, C,
                         s.width, to.sums + place * 2 * C, to.sums + place * 2 * C + C);
      }
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
  if (!wanted) return;
  add_images(columns, s.branches, s.images, C * C, weights.pointwise);
  Numbers<T> sum(s.branches * K2 * C);
  add_images(taps, s.branches, s.images, K2 * C, sum.data());
  for (Size m = 0; m < s.branches; ++m)
    transpose(sum.data() + m * K2 * C, K2, C, weights.depthwise + m * C * K2);
}

// ------------------------------------------------------------------------------------------
// ReLU and a 1×1 convolution on a grid of pixels: how a cell takes its inputs, and the two
// halves of a factorised reduction

template <class T>
struct Pointwise {
  Shape shape;       // kernel 1; `channels` are the source's
  Size offset;       // first row and column of the grid
  Size outputs;      // of this convolution
  Size total;        // channels of the result
  Size start;        // first of this convolution's among them
  const T* source;   // N×H×W×C
  const T* weights;  // M × outputs × C
};

// ReLU of one row of the grid; zeros beyond the border.
template <class T, int V>
void sampled_row(const Pointwise<T>& p, Size n, Size y, T* out) {
  const Shape& s = p.shape;
  const Size row = y * s.stride + p.offset, C = s.channels;
  if (row >= s.height) {
    std::fill(out, out + s.columns * C, T(0));
    return;
  }
  const T* in = p.source + (n * s.height + row) * s.width * s.pitch;
  for (Size x = 0; x < s.columns; ++x) {
    const Size column = x * s.stride + p.offset;
    for (Size c = 0; c < C; c += V)
      at<T, V>(out + x * C + c) =
          column < s.width ? relu(at<T, V>(in + column * s.pitch + c)) : Vec<T, V>{};
  }
}

template <class T, int V>
void pointwise_forward(const Pointwise<T>& p, T* result, double* sums) {
  const Shape& s = p.shape;
  const Size C = s.channels, image = s.area() * p.total;
  Numbers<T> columns(s.branches * C * p.outputs);
  for (Size m = 0; m < s.branches; ++m)
    transpose(p.weights + m * p.outputs * C, p.outputs, C, columns.data() + m * C * p.outputs);
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < s.images; ++n) try {
    T* seen = scratch<T>(1, s.columns * C);
    for (Size y = 0; y < s.rows; ++y) {
      sampled_row<T, V>(p, n, y, seen);
      for (Size m = 0; m < s.branches; ++m) {
        T* out = result + (m * s.images + n) * image + y * s.columns * p.total + p.start;
        double* sum = sums + (m * s.images + n) * 2 * p.total + p.start;
        product<T, V>(seen, C, columns.data() + m * C * p.outputs, out, p.total, C, p.outputs,
                      s.columns);
        row_sums<T, V>(out, p.total, out, p.total, p.outputs, s.columns, sum, sum + p.total);
      }
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
}

template <class T, int V>
void pointwise_backward(const Pointwise<T>& p, const T* result, const OutputGradient<T>& up, T* gradient,
                        Size pitch, T* weights) {
  const Shape& s = p.shape;
  const Size C = s.channels, image = s.area() * p.total;
  Numbers<T> columns(weights ? s.branches * s.images * p.outputs * C : 0, T(0));
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < s.images; ++n) try {
    T* seen = scratch<T>(1, s.columns * C);
    T* outer_row = scratch<T>(2, s.columns * p.total);
    T* inner_row = scratch<T>(3, s.columns * C);
    for (Size y = 0; y < s.rows; ++y) {
      const Size row = y * s.stride + p.offset;
      if (row >= s.height) continue;
      sampled_row<T, V>(p, n, y, seen);
      for (Size m = 0; m < s.branches; ++m) {
        output_gradient_row<T, V>(up, m, up.gradient[m] + (n * s.area() + y * s.columns) * up.pitch,
                           result + (m * s.images + n) * image + y * s.columns * p.total, p.total,
                           s.columns, outer_row);
        if (weights)
          outer<T, V>(outer_row + p.start, p.total, seen, C,
                      columns.data() + (m * s.images + n) * p.outputs * C, p.outputs, C, s.columns);
        if (!gradient) continue;
        product<T, V>(outer_row + p.start, p.total, p.weights + m * p.outputs * C, inner_row, C,
                      p.outputs, C, s.columns);
        T* out = gradient + (n * s.height + row) * s.width * pitch;
        for (Size x = 0; x < s.columns; ++x) {
          const Size column = x * s.stride + p.offset;
          if (column >= s.width) continue;
          for (Size c = 0; c < C; c += V) {
            const Vec<T, V> v = at<T, V>(inner_row + x * C + c);
            at<T, V>(out + column * pitch + c) +=
                at<T, V>(seen + x * C + c) > 0 ? v : Vec<T, V>{};
          }
        }
      }
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
  if (weights) add_images(columns, s.branches, s.images, p.outputs * C, weights);
}

// ------------------------------------------------------------------------------------------
// 3×3 pooling

template <class T, int V>
void pool_forward(const Shape& s, bool maximum, const T* source, T* result,
                  const Statistics<T>& norm) {
  const Size C = s.channels, width = s.padded_width() * C;
  const T fill = maximum ? -std::numeric_limits<T>::infinity() : T(0);
  std::vector<double> sums(s.images * 2 * C, 0.0);
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < s.images; ++n) try {
    T* padded = scratch<T>(0, s.padded_area() * C);
    pad<T, V, false>(s, source + n * s.height * s.width * s.pitch, {nullptr, nullptr}, fill, padded);
    for (Size y = 0; y < s.rows; ++y) {
      T* out = result + (n * s.rows + y) * s.columns * C;
      const Size high = std::min<Size>(y * s.stride + 2, s.height) - std::max<Size>(y * s.stride - 1, 0);
      for (Size x = 0; x < s.columns; ++x) {
        const T* in = padded + y * s.stride * width + x * s.stride * C;
        const Size wide = std::min<Size>(x * s.stride + 2, s.width) - std::max<Size>(x * s.stride - 1, 0);
        const T share = T(1) / T(high * wide);
        for (Size c = 0; c < C; c += V) {
          Vec<T, V> found = Vec<T, V>{} + fill;
          for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) {
              const Vec<T, V> v = at<T, V>(in + i * width + j * C + c);
              // A NaN wins, as in torch.
              found = maximum ? (found >= v ? found : (v != v ? v : (found != found ? found : v)))
                              : found + v;
            }
          at<T, V>(out + x * C + c) = maximum ? found : found * share;
        }
      }
      double* sum = sums.data() + n * 2 * C;
      row_sums<T, V>(out, C, out, C, C, s.columns, sum, sum + C);
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
  finish(norm, sums.data(), s.branches, s.images, C, double(s.images * s.area()));
}

// The pooled source is shared by several edges: `up` has a branch for each of them.
template <class T, int V>
void pool_backward(const Shape& s, bool maximum, const T* source, const T* result,
                   const OutputGradient<T>& up, T* gradient, Size pitch) {
  const Size C = s.channels, width = s.padded_width() * C, edge = s.padding();
  const T fill = -std::numeric_limits<T>::infinity();
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < s.images; ++n) try {
    T* padded = scratch<T>(0, s.padded_area() * C);
    if (maximum)
      pad<T, V, false>(s, source + n * s.height * s.width * s.pitch, {nullptr, nullptr}, fill,
                       padded);
    T* spread = scratch<T>(2, s.padded_area() * C);
    std::fill(spread, spread + s.padded_area() * C, T(0));
    T* total = scratch<T>(1, s.columns * C);
    T* part = scratch<T>(3, s.columns * C);
    for (Size y = 0; y < s.rows; ++y) {
      const T* pooled = result + (n * s.rows + y) * s.columns * C;
      std::fill(total, total + s.columns * C, T(0));
      for (Size m = 0; m < s.branches; ++m) {
        output_gradient_row<T, V>(up, m, up.gradient[m] + (n * s.area() + y * s.columns) * up.pitch, pooled,
                           C, s.columns, part);
        for (Size i = 0; i < s.columns * C; i += V) at<T, V>(total + i) += at<T, V>(part + i);
      }
      const Size high = std::min<Size>(y * s.stride + 2, s.height) - std::max<Size>(y * s.stride - 1, 0);
      for (Size x = 0; x < s.columns; ++x) {
        const Size place = y * s.stride * width + x * s.stride * C;
        const Size wide = std::min<Size>(x * s.stride + 2, s.width) - std::max<Size>(x * s.stride - 1, 0);
        const T share = T(1) / T(high * wide);
        for (Size c = 0; c < C; c += V) {
          Vec<T, V> left = at<T, V>(total + x * C + c);
          const Vec<T, V> top = at<T, V>(pooled + x * C + c), even = left * share;
          for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) {
              const Size tap = place + i * width + j * C + c;
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
    for (Size y = 0; y < s.height; ++y) {
      const T* found = spread + (edge + y) * width + edge * C;
      T* out = gradient + (n * s.height + y) * s.width * pitch;
      for (Size x = 0; x < s.width; ++x)
        for (Size c = 0; c < C; c += V)
          at<T, V>(out + x * pitch + c) += at<T, V>(found + x * C + c);
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
}

// ------------------------------------------------------------------------------------------
// A node: the sum of its branches, weighted by α

template <class T>
struct Term {
  const T* values;  // N×H×W×C
  Size pitch;
  const T* mean;  // null: an identity, which has no batch norm
  const T* rstd;
  T alpha;
  std::uint64_t seed;  // of the dropout on an identity
  double rate;
};

// Whether an element is dropped depends on its number and the seed alone (splitmix64).
inline bool dropped(std::uint64_t seed, Size element, double rate) {
  std::uint64_t z = seed + std::uint64_t(element) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  z ^= z >> 31;
  return double(z >> 11) * 0x1p-53 < rate;
}

template <class T, int V>
void drop_row(const Term<T>& term, const T* from, Size pitch, Size first, Size channels, Size pixels,
              T* out) {
  const T scale = T(1 / (1 - term.rate));
  for (Size p = 0; p < pixels; ++p)
    for (Size c = 0; c < channels; ++c)
      out[p * channels + c] = dropped(term.seed, (first + p) * channels + c, term.rate)
                                  ? T(0)
                                  : from[p * pitch + c] * scale;
}

template <class T, int V>
void mix_forward(Size images, Size rows, Size columns, Size C, const Term<T>* terms, Size count,
                 T* result, Size pitch) {
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size line = 0; line < images * rows; ++line) try {
    const Size first = line * columns;
    T* out = result + first * pitch;
    T* shift = scratch<T>(1, C);
    T* kept = scratch<T>(2, columns * C);
    std::fill(shift, shift + C, T(0));
    for (Size t = 0; t < count; ++t)
      if (terms[t].mean)
        for (Size c = 0; c < C; ++c)
          shift[c] -= terms[t].alpha * terms[t].rstd[c] * terms[t].mean[c];
    for (Size x = 0; x < columns; ++x)
      for (Size c = 0; c < C; c += V) at<T, V>(out + x * pitch + c) = at<T, V>(shift + c);
    for (Size t = 0; t < count; ++t) {
      const Term<T>& term = terms[t];
      const T* in = term.values + first * term.pitch;
      Size in_pitch = term.pitch;
      if (term.rate > 0) {
        drop_row<T, V>(term, in, term.pitch, first, C, columns, kept);
        in = kept;
        in_pitch = C;
      }
      for (Size c = 0; c < C; c += V) {
        Vec<T, V> scale = Vec<T, V>{} + term.alpha;
        if (term.mean) scale *= at<T, V>(term.rstd + c);
        for (Size x = 0; x < columns; ++x)
          at<T, V>(out + x * pitch + c) += scale * at<T, V>(in + x * in_pitch + c);
      }
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
}

// For every term Σ g·ŷ gives α's gradient; with Σ g it gives the coefficients a, b and c of the
// gradient through its batch norm. For an identity only α's gradient is found.
template <class T, int V>
void mix_backward(Size images, Size rows, Size columns, Size C, const Term<T>* terms, Size count,
                  const T* gradient, Size pitch, T* const* coefficients, double* alpha_gradients) {
  std::vector<double> sums(images * (count + 1) * C, 0.0);
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size n = 0; n < images; ++n) try {
    double* of_image = sums.data() + n * (count + 1) * C;
    T* kept = scratch<T>(2, columns * C);
    for (Size y = 0; y < rows; ++y) {
      const Size first = (n * rows + y) * columns;
      const T* g = gradient + first * pitch;
      for (Size t = 0; t < count; ++t) {
        const T* in = terms[t].values + first * terms[t].pitch;
        Size in_pitch = terms[t].pitch;
        if (terms[t].rate > 0) {
          drop_row<T, V>(terms[t], in, in_pitch, first, C, columns, kept);
          in = kept;
          in_pitch = C;
        }
        row_sums<T, V>(g, pitch, in, in_pitch, C, columns, t == 0 ? of_image + count * C : nullptr,
                       of_image + t * C);
      }
    }
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
  for (Size n = 1; n < images; ++n)
    for (Size i = 0; i < (count + 1) * C; ++i) sums[i] += sums[n * (count + 1) * C + i];
  const double pixels = double(images * rows * columns);
  for (Size t = 0; t < count; ++t) {
    double found = 0;
    for (Size c = 0; c < C; ++c) {
      const double product = sums[t * C + c], sum = sums[count * C + c];
      if (!terms[t].mean) {
        found += product;
        continue;
      }
      const double mean = terms[t].mean[c], rstd = terms[t].rstd[c];
      const double normed = rstd * (product - mean * sum), a = terms[t].alpha * rstd;
      found += normed;
      const double b = -a * rstd * normed / pixels;
      coefficients[t][c] = T(a);
      coefficients[t][C + c] = T(b);
      coefficients[t][2 * C + c] = T(-a * sum / pixels - b * mean);
    }
    alpha_gradients[t] = found;
  }
}

template <class T, int V>
void identity_backward(Size lines, Size columns, Size C, const Term<T>& term, const T* gradient,
                       Size pitch, T* to, Size to_pitch) {
  Shortage shortage;
#pragma omp parallel for schedule(static)
  for (Size line = 0; line < lines; ++line) try {
    const T* g = gradient + line * columns * pitch;
    Size g_pitch = pitch;
    if (term.rate > 0) {
      T* kept = scratch<T>(2, columns * C);
      drop_row<T, V>(term, g, pitch, line * columns, C, columns, kept);
      g = kept;
      g_pitch = C;
    }
    T* out = to + line * columns * to_pitch;
    for (Size x = 0; x < columns; ++x)
      for (Size c = 0; c < C; c += V)
        at<T, V>(out + x * to_pitch + c) += term.alpha * at<T, V>(g + x * g_pitch + c);
  } catch (...) {
    shortage.noted = true;
  }
  shortage.raise();
}

// Coefficients of the gradient through the batch norm between the halves of a separable
// convolution, from the sums that depthwise_backward leaves.
template <class T>
void inner_coefficients(Size branches, Size images, Size C, double pixels, const double* sums,
                        const T* mean, const T* rstd, T* coefficients) {
  for (Size m = 0; m < branches; ++m)
    for (Size k = 0; k < C; ++k) {
      double sum = 0, product = 0;
      for (Size n = 0; n < images; ++n) {
        sum += sums[(m * images + n) * 2 * C + k];
        product += sums[(m * images + n) * 2 * C + C + k];
      }
      const Size i = m * C + k;
      const double r = rstd[i], slope = -r * r * r * (product - mean[i] * sum) / pixels;
      T* of_branch = coefficients + m * 3 * C + k;
      of_branch[0] = T(r);
      of_branch[C] = T(slope);
      of_branch[2 * C] = T(-r * sum / pixels - slope * mean[i]);
    }
}

}  // namespace

// ------------------------------------------------------------------------------------------
// What Python calls: one function each for float and double

#define EXPORT(T, NAME)                                                                           \
  extern "C" int depthwise_forward_##NAME(const Depthwise<T>* d, T* middle, T* result,            \
                                          const Statistics<T>* norm) {                            \
    return completed([&] {                                                                        \
      WITH_BLOCK(T, d->shape.channels, WITH_KERNEL(d->shape.kernel,                               \
                 (depthwise_forward<T, V, K>(*d, middle, result, *norm))));                       \
    });                                                                                           \
  }                                                                                               \
  extern "C" int depthwise_backward_##NAME(const Depthwise<T>* d, const T* middle,                \
                                           const T* result, const OutputGradient<T>* up,                \
                                           const SourceGradient<T>* to,                           \
                                           const WeightGradient<T>* weights) {                    \
    return completed([&] {                                                                        \
      WITH_BLOCK(T, d->shape.channels, WITH_KERNEL(d->shape.kernel,                               \
                 (depthwise_backward<T, V, K>(*d, middle, result, *up, *to, *weights))));         \
    });                                                                                           \
  }                                                                                               \
  extern "C" int inner_coefficients_##NAME(Size branches, Size images, Size C, double pixels,     \
                                           const double* sums, const T* mean, const T* rstd,      \
                                           T* coefficients) {                                     \
    return completed([&] {                                                                        \
      inner_coefficients<T>(branches, images, C, pixels, sums, mean, rstd, coefficients);         \
    });                                                                                           \
  }                                                                                               \
  extern "C" int pointwise_forward_##NAME(const Pointwise<T>* p, T* result, double* sums) {       \
    return completed([&] {                                                                        \
      WITH_BLOCK(T, p->shape.channels | p->outputs, (pointwise_forward<T, V>(*p, result, sums))); \
    });                                                                                           \
  }                                                                                               \
  extern "C" int finish_##NAME(const Statistics<T>* norm, const double* sums, Size branches,      \
                               Size images, Size channels, double count) {                        \
    return completed([&] {                                                                        \
      finish<T>(*norm, sums, branches, images, channels, count);                                  \
    });                                                                                           \
  }                                                                                               \
  extern "C" int pointwise_backward_##NAME(const Pointwise<T>* p, const T* result,                \
                                           const OutputGradient<T>* up, T* gradient, Size pitch,        \
                                           T* weights) {                                          \
    return completed([&] {                                                                        \
      WITH_BLOCK(T, p->shape.channels | p->outputs | p->total,                                    \
                 (pointwise_backward<T, V>(*p, result, *up, gradient, pitch, weights)));          \
    });                                                                                           \
  }                                                                                               \
  extern "C" int pool_forward_##NAME(const Shape* s, Size maximum, const T* source, T* result,    \
                                     const Statistics<T>* norm) {                                 \
    return completed([&] {                                                                        \
      WITH_BLOCK(T, s->channels, (pool_forward<T, V>(*s, maximum, source, result, *norm)));       \
    });                                                                                           \
  }                                                                                               \
  extern "C" int pool_backward_##NAME(const Shape* s, Size maximum, const T* source,              \
                                      const T* result, const OutputGradient<T>* up, T* gradient,        \
                                      Size pitch) {                                               \
    return completed([&] {                                                                        \
      WITH_BLOCK(T, s->channels,                                                                  \
                 (pool_backward<T, V>(*s, maximum, source, result, *up, gradient, pitch)));       \
    });                                                                                           \
  }                                                                                               \
  extern "C" int mix_forward_##NAME(Size images, Size rows, Size columns, Size C,                 \
                                    const Term<T>* terms, Size count, T* result, Size pitch) {    \
    return completed([&] {                                                                        \
      WITH_BLOCK(T, C, (mix_forward<T, V>(images, rows, columns, C, terms, count, result, pitch)));\
    });                                                                                           \
  }                                                                                               \
  extern "C" int mix_backward_##NAME(Size images, Size rows, Size columns, Size C,                \
                                     const Term<T>* terms, Size count, const T* gradient,         \
                                     Size pitch, T* const* coefficients, double* alphas) {        \
    return completed([&] {                                                                        \
      WITH_BLOCK(T, C, (mix_backward<T, V>(images, rows, columns, C, terms, count, gradient, pitch,\
                                           coefficients, alphas)));                               \
    });                                                                                           \
  }                                                                                               \
  extern "C" int identity_backward_##NAME(Size lines, Size columns, Size C, const Term<T>* term,  \
                                          const T* gradient, Size pitch, T* to, Size to_pitch) {  \
    return completed([&] {                                                                        \
      WITH_BLOCK(T, C, (identity_backward<T, V>(lines, columns, C, *term, gradient, pitch, to,    \
                                                to_pitch)));                                      \
    });                                                                                           \
  }

EXPORT(float, float)
EXPORT(double, double)
