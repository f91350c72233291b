// Attention of a packed row over its tree of segments, in one call for a layer.
//
// A lane is one query head of one row; the lanes of a block stand side by side in vectors, and all
// of a block's lanes belong to one segment and one key-value head. For each block the keys of its
// segment's chain (ancestors, kept runs, itself) are taken from position 0 up, KEYS at a time: dot
// products, softmax with a running maximum, weighted values. Nothing is merged afterwards.
//
// A lane's arithmetic depends on its query and on the keys and values of its own sequence alone:
// lanes never meet, blocks of keys begin at multiples of KEYS in the *sequence*, wherever segments
// border, and each sum is made in order of positions. What it adds for keys that others in its
// block see and it doesn't are zeros. So a row gets the same bits in any company, however prefixes
// are shared, and on any number of threads.
//
// Source: softmax with a running maximum, Milakov and Gimelshein 2018, arXiv:1805.02867, as in
// FlashAttention, Dao et al. 2022, arXiv:2205.14135.
#include <cmath>

#include "vectors.h"

namespace {

constexpr int VECTORS = 2;                  // of a block's lanes
constexpr int LANES = VECTORS * WIDTH;      // of a block
constexpr int KEYS = 64;                    // keys and values that are in the first-level cache
constexpr int MOST_DIM = 256;               // of a head: the block's state is on the stack
constexpr int STRIP = WIDTH == 16 ? 8 : 4;  // results beside each other that fill the registers

struct Source {  // where keys and values lie: the packed row, or a kept run
  const float* keys;
  const float* values;
  Index key_token, key_head, value_token, value_head;  // strides
};

struct Piece {  // of a chain: tokens [first, first + count) of a source
  Index source, first, count;
};

struct Block {  // lanes [first_lane, first_lane + lanes) see a chain of pieces
  Index first_piece, first_lane, lanes;
};

struct Call {
  const float* query;
  Index query_row, query_head;  // strides
  float* out;
  Index out_row, out_head;  // strides
  const Index* positions;   // of the query rows in their sequences
  const Source* sources;
  const Piece* pieces;
  const Block* blocks;
  Index num_blocks, key_value_heads, group, dim;  // group: query heads of a key-value head
  Index window;                                   // 0 for none
  double scale;
  Threads threads;
};

// Results [0, N): to[n] = onto[n] * factor + (from[n] + sum over k of left[k] * right[n, k]), lane by
// lane; `from` and `onto` may be null for zeros. Kept out of line, so that the sums stay in registers.
template <int V, int N>
__attribute__((noinline)) void strip(Floats* to, const Floats* from, const Floats* onto,
                                     const Floats* factor, const Floats* left, const float* right,
                                     Index right_n, Index right_k, Index count) {
  Floats sum[N][V];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[n][v] = from ? from[n * VECTORS + v] : Floats{};
  for (Index k = 0; k < count; ++k) {
    Floats row[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) row[v] = left[k * VECTORS + v];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const float one = right[n * right_n + k * right_k];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[n][v] += row[v] * one;
    }
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v)
      to[n * VECTORS + v] = onto ? onto[n * VECTORS + v] * factor[v] + sum[n][v] : sum[n][v];
}

// `strip` over `results` of them, by strips as long as they come.
template <int V>
void strips(Floats* to, const Floats* from, const Floats* onto, const Floats* factor,
            const Floats* left, const float* right, Index right_n, Index right_k, Index count,
            Index results) {
  const auto at = [](auto* vectors, Index n) { return vectors ? vectors + n * VECTORS : nullptr; };
  for (Index n = 0; n < results;) {
    const auto run = [&](auto take, int length) {
      take(at(to, n), at(from, n), at(onto, n), factor, left, right + n * right_n, right_n, right_k,
           count);
      n += length;
    };
    const Index left_over = results - n;
    if (left_over >= STRIP)
      run(strip<V, STRIP>, STRIP);
    else if (left_over >= 4)
      run(strip<V, 4>, 4);
    else if (left_over >= 2)
      run(strip<V, 2>, 2);
    else
      run(strip<V, 1>, 1);
  }
}

// One block of lanes and its state while the keys go by.
template <int V>
class Attending {
 public:
  Attending(const Call& call, const Block& block, Index head)
      : call_(call), block_(block), head_(head), piece_(call.pieces + block.first_piece) {
    float* query = reinterpret_cast<float*>(query_);
    const float factor = static_cast<float>(call.scale * 1.4426950408889634);  // log2(e)
    for (int lane = 0; lane < V * WIDTH; ++lane) {
      const Index row = row_of(lane);
      const float* from = call.query + row * call.query_row + head_of(lane) * call.query_head;
      for (Index d = 0; d < call.dim; ++d) query[d * LANES + lane] = from[d] * factor;
      const Index last = call.positions[row], first = first_seen(last);
      last_[lane / WIDTH][lane % WIDTH] = static_cast<std::int32_t>(last);
      first_[lane / WIDTH][lane % WIDTH] = static_cast<std::int32_t>(first);
      if (lane == 0 || last > most_) most_ = last;
      if (lane == 0 || last < least_) least_ = last;
    }
    for (int v = 0; v < V; ++v) highest_[v] = Floats{} - 1e30f, total_[v] = Floats{};
    for (Index d = 0; d < call.dim; ++d)
      for (int v = 0; v < V; ++v) out_[d * VECTORS + v] = Floats{};
  }

  void run() {
    for (Index start = first_seen(least_) / KEYS * KEYS; start <= most_; start += KEYS)
      take(start, start + KEYS <= most_ ? start + KEYS : most_ + 1);
    finish();
  }

 private:
  // Lanes past the last repeat it; they are computed and left.
  Index row_of(Index lane) const { return flat(lane) / call_.group; }
  Index head_of(Index lane) const { return head_ * call_.group + flat(lane) % call_.group; }
  Index flat(Index lane) const {
    return block_.first_lane + (lane < block_.lanes ? lane : block_.lanes - 1);
  }
  Index first_seen(Index last) const {
    return call_.window && last >= call_.window ? last - call_.window + 1 : 0;
  }

  // The keys and values at positions [start, end).
  void take(Index start, Index end) {
    while (passed_ + piece_->count <= start) passed_ += (piece_++)->count;
    over_pieces(start, end, [&](const Source& source, Index token, Index at, Index count) {
      const float* keys = source.keys + token * source.key_token + head_ * source.key_head;
      strips<V>(weights_ + at * VECTORS, nullptr, nullptr, nullptr, query_, keys, source.key_token,
                1, call_.dim, count);
    });
    const bool partly = end - 1 > least_ || start < first_seen(most_);
    if (partly) hide(start, end);
    Floats factor[V];
    weigh(end - start, factor);
    const bool careful = partly && !all_finite(start, end);
    over_pieces(start, end, [&](const Source& source, Index token, Index at, Index count) {
      const float* values = source.values + token * source.value_token + head_ * source.value_head;
      const bool first = at == 0, last = at + count == end - start;
      if (careful)
        add_seen(values, source.value_token, start, at, count, first, last, factor);
      else
        strips<V>(last ? out_ : part_, first ? nullptr : part_, last ? out_ : nullptr, factor,
                  weights_ + at * VECTORS, values, 1, source.value_token, count, call_.dim);
    });
  }

  // What of [start, end) lies in each piece: its source, its first token, its place and its length.
  template <class Each>
  void over_pieces(Index start, Index end, const Each& each) const {
    const Piece* piece = piece_;
    Index position = passed_;
    for (Index at = start; at < end; position += (piece++)->count) {
      const Index stop = position + piece->count < end ? position + piece->count : end;
      if (stop <= at) continue;  // an empty piece
      each(call_.sources[piece->source], piece->first + at - position, at - start, stop - at);
      at = stop;
    }
  }

  void hide(Index start, Index end) {
    for (Index k = start; k < end; ++k)
      for (int v = 0; v < V; ++v) {
        const std::int32_t key = static_cast<std::int32_t>(k);
        Floats& score = weights_[(k - start) * VECTORS + v];
        score = (last_[v] >= key) & (first_[v] <= key) ? score : Floats{} - INFINITY;
      }
  }

  // Scores become weights under the highest score so far; `factor` takes what is there down to it.
  void weigh(Index count, Floats* factor) {
    for (int v = 0; v < V; ++v) {
      Floats highest = highest_[v], total = Floats{};
      for (Index k = 0; k < count; ++k) {
        const Floats score = weights_[k * VECTORS + v];
        highest = score > highest ? score : highest;
      }
      for (Index k = 0; k < count; ++k) {
        Floats& weight = weights_[k * VECTORS + v];
        weight = exp2_of(weight - highest);
        total += weight;
      }
      factor[v] = exp2_of(highest_[v] - highest);
      total_[v] = total_[v] * factor[v] + total;
      highest_[v] = highest;
    }
  }

  // Whether no value could turn a weight of zero into NaN.
  bool all_finite(Index start, Index end) const {
    bool finite = true;
    over_pieces(start, end, [&](const Source& source, Index token, Index, Index count) {
      const float* values = source.values + token * source.value_token + head_ * source.value_head;
      for (Index k = 0; k < count; ++k) {
        float zero = 0;
        for (Index d = 0; d < call_.dim; ++d) zero += values[k * source.value_token + d] * 0.0f;
        finite = finite && zero == 0;
      }
    });
    return finite;
  }

  // The weighted values as `strips` adds them, but lane by lane, and only those that a lane sees.
  void add_seen(const float* values, Index stride, Index start, Index at, Index count, bool first,
                bool last, const Floats* factor) {
    for (Index d = 0; d < call_.dim; ++d)
      for (int lane = 0; lane < V * WIDTH; ++lane) {
        const int v = lane / WIDTH, l = lane % WIDTH;
        float sum = first ? 0.0f : part_[d * VECTORS + v][l];
        for (Index k = 0; k < count; ++k)
          if (start + at + k >= first_[v][l] && start + at + k <= last_[v][l])
            sum = std::fma(weights_[(at + k) * VECTORS + v][l], values[k * stride + d], sum);
        Floats& to = (last ? out_ : part_)[d * VECTORS + v];
        to[l] = last ? std::fma(to[l], factor[v][l], sum) : sum;
      }
  }

  void finish() {
    for (int v = 0; v < V; ++v) total_[v] = 1.0f / total_[v];
    for (Index d = 0; d < call_.dim; ++d)
      for (int v = 0; v < V; ++v) out_[d * VECTORS + v] *= total_[v];
    const float* out = reinterpret_cast<const float*>(out_);
    for (int lane = 0; lane < block_.lanes; ++lane) {
      float* to = call_.out + row_of(lane) * call_.out_row + head_of(lane) * call_.out_head;
      for (Index d = 0; d < call_.dim; ++d) to[d] = out[d * LANES + lane];
    }
  }

  const Call& call_;
  const Block& block_;
  const Index head_;
  const Piece* piece_;          // the first of which keys are still to come
  Index passed_ = 0;            // positions before it
  Index most_ = 0, least_ = 0;  // of the lanes' positions
  Ints last_[V], first_[V];     // positions that each lane sees
  Floats highest_[V], total_[V];
  // By head dimension or key, then by lane.
  Floats query_[MOST_DIM * VECTORS], out_[MOST_DIM * VECTORS], part_[MOST_DIM * VECTORS];
  Floats weights_[KEYS * VECTORS];
};

}  // namespace

extern "C" {

// Lanes of a block, by which callers cut segments.
int rewardd_lanes() { return LANES; }

int rewardd_most_dim() { return MOST_DIM; }

void rewardd_attention(const Call* call) {
  // A head's blocks follow each other, as they read the same keys.
  on_threads(call->threads, call->num_blocks * call->key_value_heads, [call](Index item) {
    const Block& block = call->blocks[item % call->num_blocks];
    const Index head = item / call->num_blocks;
    if (block.lanes <= WIDTH)
      Attending<1>(*call, block, head).run();
    else
      Attending<VECTORS>(*call, block, head).run();
  });
}

}  // extern "C"
