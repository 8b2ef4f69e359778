/// What a function that is no template takes a callable as.
#pragma once

#include "sequin/core/version.hpp"

#include <memory>
#include <type_traits>
#include <utility>

namespace sequin::inline SEQUIN_ABI::detail {

template <class Signature>
class FunctionRef;

/// Does not own: two words for a callable that lives as long as the call it is handed to. Who takes
/// one is compiled once, not for every lambda, and the lambda's body once, wherever it is called.
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> &&
           std::is_invocable_r_v<R, F&, Args...>) FunctionRef(F&& f)
  noexcept  // NOLINT(google-explicit-constructor)
      : f_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* g, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(g))(std::forward<Args>(args)...);
        }) {}

  R operator()(Args... args) const { return call_(f_, std::forward<Args>(args)...); }

 private:
  void* f_;
  R (*call_)(void*, Args...);
};

}  // namespace sequin::inline SEQUIN_ABI::detail
