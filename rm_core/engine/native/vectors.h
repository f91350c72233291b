// Vectors of floats as wide as the processor's registers, and work spread over threads.
//
// The compiler's own vector types are used, so that one source serves AVX-512, AVX2, SSE and NEON.
// Nothing here reassociates sums: the order of additions is the order that is written.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

using Index = std::int64_t;
typedef float Floats __attribute__((vector_size(VECTOR_BYTES)));
typedef std::int32_t Ints __attribute__((vector_size(VECTOR_BYTES)));
constexpr int WIDTH = VECTOR_BYTES / 4;

inline Floats load(const float* from) {
  Floats all;
  std::memcpy(&all, from, sizeof all);  // wherever it is aligned
  return all;
}

inline void store(float* to, Floats all) { std::memcpy(to, &all, sizeof all); }

// 2^(whole + part) with |part| <= 1/2, where `shifted` is 1.5 * 2^23 + whole: the sum's last bits
// are then the integer. The polynomial's relative error is 2e-9, below a float's rounding.
inline Floats two_to(Floats shifted, Floats part) {
  Floats sum = part * 0x1.41fbbap-13f + 0x1.5f3e54p-10f;
  sum = sum * part + 0x1.3b2d4cp-7f;
  sum = sum * part + 0x1.c6aee8p-5f;
  sum = sum * part + 0x1.ebfbdcp-3f;
  sum = sum * part + 0x1.62e430p-1f;
  sum = sum * part + 1.0f;
  // 0x4B400000 are the bits of 1.5 * 2^23; a float's exponent is stored with 127 added.
  const Ints exponent = ((Ints)shifted + (127 - 0x4B400000)) << 23;
  return sum * (Floats)exponent;
}

constexpr float SHIFT = 12582912.0f;  // 1.5 * 2^23

// 2^x for x <= 0; 0 below 2^-126. NaN stays NaN.
inline Floats exp2_of(Floats x) {
  const Floats shifted = x + SHIFT;
  return x < -126.0f ? Floats{} : two_to(shifted, x - (shifted - SHIFT));
}

// How torch's OpenMP starts a function on its threads (GOMP_parallel); null to run on one.
using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);

struct Threads {
  Parallel parallel;
  Index count;
};

template <class Each>
struct Work {
  const Each* each;
  Index items;
  std::atomic<Index> next;

  static void run(void* data) {
    Work& work = *static_cast<Work*>(data);
    for (Index item; (item = work.next.fetch_add(1, std::memory_order_relaxed)) < work.items;)
      (*work.each)(item);
  }
};

// Call `each` on 0 ... items - 1, each once, in order of starting, on as many threads as there are.
template <class Each>
inline void on_threads(const Threads& threads, Index items, const Each& each) {
  Work<Each> work{&each, items, {0}};
  const Index count = threads.count < items ? threads.count : items;
  if (threads.parallel && count > 1)
    threads.parallel(Work<Each>::run, &work, static_cast<unsigned>(threads.count), 0);
  else
    Work<Each>::run(&work);
}
