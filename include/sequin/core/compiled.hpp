/// What the target sequin::compiled compiles once for a whole program.
#pragma once

// A header ends with the list of its functions that are worth it:
//
//     SEQUIN_INSTANTIATE(kernels::softmax_forward);  // kernels::softmax_forward<T>
//     SEQUIN_INSTANTIATE(linear, 3, 2);              // linear<T, 3, 2>
//     SEQUIN_INSTANTIATE_RANKS(softmax);             // softmax<T, Rank>, Rank 2, 3 and 4
//     SEQUIN_INSTANTIATE_ONE(detail::reduce_axis<2, float, 3>);
//
// for T float and double. Header-only, a list is nothing. Where SEQUIN_COMPILED is defined, as the
// target does for those who link it, it declares that the code is somewhere else;
// cmake/compiled.cmake writes the sources in which it is, from the same lines. A listed function is
// a template, not inline, not overloaded, and so coarse that a call of it is nothing.
#ifdef SEQUIN_COMPILED
#define SEQUIN_INSTANTIATION extern template  // the sources say template
#define SEQUIN_INSTANTIATE_ONE(...) \
  SEQUIN_INSTANTIATION decltype(sequin::__VA_ARGS__) sequin::__VA_ARGS__
#define SEQUIN_INSTANTIATE(name, ...)                             \
  SEQUIN_INSTANTIATE_ONE(name<float __VA_OPT__(, ) __VA_ARGS__>); \
  SEQUIN_INSTANTIATE_ONE(name<double __VA_OPT__(, ) __VA_ARGS__>)
#else
#define SEQUIN_INSTANTIATE_ONE(...) static_assert(true)
#define SEQUIN_INSTANTIATE(name, ...) static_assert(true)
#endif
#define SEQUIN_INSTANTIATE_RANKS(name) \
  SEQUIN_INSTANTIATE(name, 2);         \
  SEQUIN_INSTANTIATE(name, 3);         \
  SEQUIN_INSTANTIATE(name, 4)
#define SEQUIN_INSTANTIATE_PAIRS(name) \
  SEQUIN_INSTANTIATE(name, 2, 1);      \
  SEQUIN_INSTANTIATE(name, 2, 2);      \
  SEQUIN_INSTANTIATE(name, 3, 1);      \
  SEQUIN_INSTANTIATE(name, 3, 3);      \
  SEQUIN_INSTANTIATE(name, 4, 4)

// A function that is no template stands between `#if SEQUIN_BODIES` and `#endif` and is
// SEQUIN_INLINE: header-only it is inline, with the target it is in one of the sources.
#if !defined(SEQUIN_COMPILED)
#define SEQUIN_BODIES 1
#define SEQUIN_INLINE inline
#elif defined(SEQUIN_COMPILED_SOURCE)
#define SEQUIN_BODIES 1
#define SEQUIN_INLINE
#else
#define SEQUIN_BODIES 0
#endif
