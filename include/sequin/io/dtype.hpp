/// Element types of files, and conversion of their bytes.
#pragma once

#include "sequin/core/error.hpp"
#include "sequin/io/half.hpp"

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sequin::inline SEQUIN_ABI {

/// Types that safetensors files hold and that are read here.
enum class DType { F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL };

/// The name in a file's header.
constexpr std::string_view dtype_name(DType d) noexcept {
  constexpr std::string_view names[] = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16",
                                        "I8",  "U64", "U32", "U16",  "U8",  "BOOL"};
  return names[static_cast<std::size_t>(d)];
}

/// Bytes of an element.
constexpr std::size_t dtype_size(DType d) noexcept {
  constexpr std::size_t sizes[] = {8, 4, 2, 2, 8, 4, 2, 1, 8, 4, 2, 1, 1};
  return sizes[static_cast<std::size_t>(d)];
}

/// Nothing for a name that is not one of these, spelt so.
constexpr std::optional<DType> dtype_named(std::string_view name) noexcept {
  for (int i = 0; i <= static_cast<int>(DType::BOOL); ++i)
    if (dtype_name(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  return std::nullopt;
}

namespace detail {

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::F64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::F32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::I64;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::I32;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::U8;
};

}  // namespace detail

/// The file type that holds T exactly.
template <class T>
inline constexpr DType dtype_of = detail::DTypeOf<T>::value;

namespace detail {

template <class Source, class T, class F>
void convert_each(std::span<const std::byte> bytes, std::span<T> out, F f) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Source v;
    std::memcpy(&v, bytes.data() + i * sizeof(Source), sizeof(Source));
    const auto value = f(v);
    if constexpr (std::integral<T>) {
      using V = std::remove_const_t<decltype(value)>;
      if constexpr (std::floating_point<V>) {
        throw LoadError("expected integers, found floating-point numbers");
      } else if constexpr (!std::same_as<V, bool>) {
        if (!std::in_range<T>(value))
          throw LoadError("element " + std::to_string(i) + ": expected an integer of " +
                          std::to_string(sizeof(T)) + " bytes, found " + std::to_string(value));
      }
    }
    out[i] = static_cast<T>(value);
  }
}

}  // namespace detail

/// Converts out.size() elements of type `dtype`; the bytes need no alignment. What T cannot hold is
/// rounded as a cast rounds when T is float or double.
/// Throws LoadError when the number of bytes is not theirs, and, where T is an integer, for
/// floating-point elements and for integers that T cannot hold.
template <class T>
void convert_elements(DType dtype, std::span<const std::byte> bytes, std::span<T> out) {
  static_assert(std::endian::native == std::endian::little, "files are little-endian");
  if (bytes.size() != out.size() * dtype_size(dtype))
    throw LoadError("expected " + std::to_string(out.size() * dtype_size(dtype)) + " bytes of " +
                    std::string(dtype_name(dtype)) + ", found " + std::to_string(bytes.size()));
  const auto same = [](auto v) { return v; };
  switch (dtype) {
    case DType::F64:
      return detail::convert_each<double>(bytes, out, same);
    case DType::F32:
      return detail::convert_each<float>(bytes, out, same);
    case DType::F16:
      return detail::convert_each<std::uint16_t>(bytes, out, half_to_float);
    case DType::BF16:
      return detail::convert_each<std::uint16_t>(bytes, out, bfloat16_to_float);
    case DType::I64:
      return detail::convert_each<std::int64_t>(bytes, out, same);
    case DType::I32:
      return detail::convert_each<std::int32_t>(bytes, out, same);
    case DType::I16:
      return detail::convert_each<std::int16_t>(bytes, out, same);
    case DType::I8:
      return detail::convert_each<std::int8_t>(bytes, out, same);
    case DType::U64:
      return detail::convert_each<std::uint64_t>(bytes, out, same);
    case DType::U32:
      return detail::convert_each<std::uint32_t>(bytes, out, same);
    case DType::U16:
      return detail::convert_each<std::uint16_t>(bytes, out, same);
    case DType::U8:
      return detail::convert_each<std::uint8_t>(bytes, out, same);
    case DType::BOOL:
      return detail::convert_each<std::uint8_t>(bytes, out, [](std::uint8_t v) { return v != 0; });
  }
}

}  // namespace sequin::inline SEQUIN_ABI
