// What a layer does beside its products and attention, each in one pass over memory.
//
// Every row's arithmetic depends on that row alone.
#include <cmath>

#include "vectors.h"

namespace {

constexpr Index GRAIN = 1 << 14;  // elements worth a thread's while

// Rows in runs of at least GRAIN elements.
template <class Each>
void over_rows(const Threads& threads, Index rows, Index width, const Each& each) {
  const Index run = GRAIN / width + 1;
  on_threads(threads, (rows + run - 1) / run, [&](Index item) {
    const Index end = (item + 1) * run < rows ? (item + 1) * run : rows;
    for (Index row = item * run; row < end; ++row) each(row);
  });
}

void normalise(const float* x, const float* weight, float epsilon, float* __restrict out,
               Index width) {
  constexpr int SUMS = 4;  // beside each other, as an addition takes some cycles
  Floats sums[SUMS] = {};
  Index i = 0;
  for (; i + SUMS * WIDTH <= width; i += SUMS * WIDTH)
    for (int s = 0; s < SUMS; ++s) {
      const Floats part = load(x + i + s * WIDTH);
      sums[s] += part * part;
    }
  float total = 0;
  const Floats sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  for (int lane = 0; lane < WIDTH; ++lane) total += sum[lane];
  for (; i < width; ++i) total += x[i] * x[i];
  const float factor = 1.0f / std::sqrt(total / static_cast<float>(width) + epsilon);
  for (Index j = 0; j < width; ++j) out[j] = x[j] * factor * weight[j];
}

void turn(float* __restrict x, const float* __restrict cosine, const float* __restrict sine,
          Index half) {
  for (Index i = 0; i < half; ++i) {
    const float first = x[i], second = x[i + half];
    x[i] = first * cosine[i] - second * sine[i];
    x[i + half] = second * cosine[i] + first * sine[i];
  }
}

// x / (1 + e^-x), with e^-x to a float's rounding: log2(e) is taken in two parts.
Floats silu(Floats x) {
  Floats bounded = x > 87.0f ? Floats{} + 87.0f : x;
  bounded = bounded < -87.0f ? Floats{} - 87.0f : bounded;  // so that e^-x is finite
  const Floats shifted = bounded * -0x1.715476p+0f + SHIFT;
  const Floats part = bounded * -0x1.715476p+0f - (shifted - SHIFT);
  return x / (1.0f + two_to(shifted, part - bounded * 0x1.4ae0c0p-26f));
}

void gate(float* gated, const float* up, Index count) {
  Index i = 0;
  for (; i + WIDTH <= count; i += WIDTH) store(gated + i, silu(load(gated + i)) * load(up + i));
  if (i == count) return;
  float rest[2][WIDTH] = {};
  std::memcpy(rest[0], gated + i, (count - i) * sizeof(float));
  std::memcpy(rest[1], up + i, (count - i) * sizeof(float));
  store(rest[0], silu(load(rest[0])) * load(rest[1]));
  std::memcpy(gated + i, rest[0], (count - i) * sizeof(float));
}

}  // namespace

extern "C" {

// out[r] = x[r] / sqrt(mean(x[r]^2) + epsilon) * weight
void rewardd_rms_norm(const float* x, Index x_row, const float* weight, float epsilon, float* out,
                      Index rows, Index width, Parallel parallel, Index threads) {
  over_rows({parallel, threads}, rows, width, [=](Index row) {
    normalise(x + row * x_row, weight, epsilon, out + row * width, width);
  });
}

// Rotary position embedding in place: x * cos + rotate_half(x) * sin, for every head of every row.
void rewardd_rotate(float* x, Index x_row, const float* cosine, const float* sine, Index table_row,
                    Index rows, Index heads, Index dim, Parallel parallel, Index threads) {
  over_rows({parallel, threads}, rows, heads * dim, [=](Index row) {
    for (Index head = 0; head < heads; ++head)
      turn(x + row * x_row + head * dim, cosine + row * table_row, sine + row * table_row, dim / 2);
  });
}

// gated = silu(gated) * up
void rewardd_gate(float* gated, const float* up, Index rows, Index width, Parallel parallel,
                  Index threads) {
  over_rows({parallel, threads}, rows, width,
            [=](Index row) { gate(gated + row * width, up + row * width, width); });
}

}  // extern "C"
