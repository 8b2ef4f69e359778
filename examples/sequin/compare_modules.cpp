#include "compare_modules.hpp"

#include "compare.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace sequin_cli {

using namespace sequin;

namespace {

using Extents = std::vector<std::int64_t>;

constexpr std::string_view kPrefix = "mid.";

/// One module that both sides have.
struct Compared {
  const OwnedTensor* ours = nullptr;
  const TensorEntry* recorded = nullptr;
  std::optional<Difference> difference;  // none: the layouts do not fit
  double found = 0, expected = 0;        // where the difference is largest

  bool holds(double tolerance) const { return difference && difference->relative <= tolerance; }
};

Extents without_ones(const Extents& shape) {
  Extents s;
  std::copy_if(shape.begin(), shape.end(), std::back_inserter(s),
               [](std::int64_t extent) { return extent != 1; });
  return s;
}

std::int64_t count(const Extents& shape) {
  std::int64_t n = 1;
  for (const std::int64_t extent : shape) n *= extent;
  return n;
}

/// The same elements in the same order: axes of one element and how leading axes are folded do not
/// matter.
bool same_order(const Extents& a, const Extents& b) {
  return without_ones(a) == without_ones(b) ||
         (count(a) == count(b) && !a.empty() && !b.empty() && a.back() == b.back());
}

/// The last two axes exchanged, as between (B, T, C) here and (B, C, T) of a convolution.
Extents exchanged(Extents shape) {
  if (shape.size() >= 2) std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
  return shape;
}

std::vector<double> exchanged(const std::vector<double>& values, const Extents& shape) {
  const auto rows = static_cast<std::size_t>(shape[shape.size() - 2]);
  const auto cols = static_cast<std::size_t>(shape.back());
  std::vector<double> out(values.size());
  for (std::size_t at = 0; at < values.size(); at += rows * cols)
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) out[at + c * rows + r] = values[at + r * cols + c];
  return out;
}

Compared compare(const OwnedTensor& ours, const TensorEntry& recorded) {
  Compared result{&ours, &recorded, {}, 0, 0};
  const auto expected = as_doubles(recorded.dtype, recorded.bytes);
  const auto consider = [&](const std::vector<double>& found) {
    const Difference d = difference(found, expected);
    if (result.difference && result.difference->relative <= d.relative) return;
    result.difference = d;
    if (expected.empty()) return;
    result.found = found[d.place];
    result.expected = expected[d.place];
  };
  const auto found = as_doubles(ours.dtype, ours.bytes);
  if (same_order(ours.shape, recorded.shape)) consider(found);
  const Extents shape = without_ones(ours.shape);
  if (shape.size() >= 2 && exchanged(shape) == without_ones(recorded.shape))
    consider(exchanged(found, shape));
  return result;
}

/// "[1, 0, 3]" of element `place`.
std::string place_text(std::size_t place, const Extents& shape) {
  Extents index(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    const auto extent = static_cast<std::size_t>(shape[axis]);
    index[axis] = static_cast<std::int64_t>(place % extent);
    place /= extent;
  }
  return shape_text(index);
}

void print_line(const Compared& c, double tolerance) {
  if (c.difference)
    std::printf("  mid.%-40s %.1e%s\n", c.ours->name.c_str(), c.difference->relative,
                c.holds(tolerance) ? "" : "  TOO LARGE");
  else
    std::printf("  mid.%-40s not compared: recorded %s, here %s\n", c.ours->name.c_str(),
                shape_text(c.recorded->shape).c_str(), shape_text(c.ours->shape).c_str());
}

/// The first that does not hold, and the last before it that does.
void print_divergence(const std::vector<Compared>& all, const Compared& first, double tolerance) {
  const Difference& d = *first.difference;
  std::printf("first module that diverges: %s\n", first.ours->name.c_str());
  std::printf("  largest difference %.3g at %s: recorded %.7g, found %.7g\n", d.largest,
              place_text(d.place, first.recorded->shape).c_str(), first.expected, first.found);
  std::printf("  relative %.1e, expected at most %.1e\n", d.relative, tolerance);
  const Compared* last = nullptr;
  for (const Compared& c : all) {
    if (&c == &first) break;
    if (c.holds(tolerance)) last = &c;
  }
  if (last == nullptr)
    std::printf("last module that held: none before it\n");
  else
    std::printf("last module that held: %s (%.1e)\n", last->ours->name.c_str(),
                last->difference->relative);
}

}  // namespace

void report_modules(const SafetensorsFile& file, const std::vector<OwnedTensor>& ours,
                    const ModuleCheck& check) {
  std::vector<Compared> all;
  for (const OwnedTensor& t : ours)
    if (const TensorEntry* const e = file.find(std::string(kPrefix) + t.name))
      all.push_back(compare(t, *e));

  std::vector<const TensorEntry*> unknown;
  std::size_t recorded = 0;
  for (const TensorEntry& e : file.tensors()) {
    if (!e.name.starts_with(kPrefix)) continue;
    ++recorded;
    const bool known = std::any_of(all.begin(), all.end(),
                                   [&](const Compared& c) { return c.recorded->name == e.name; });
    if (!known) unknown.push_back(&e);
  }
  if (recorded == 0) {
    if (!check.outputs_hold)
      std::printf(
          "the file records no modules (mid.*); examples/convert/export_golden.py does, and the "
          "first that diverges is then named here\n");
    return;
  }
  if (check.streamed) {
    std::printf("modules: compared without --stream\n");
    return;
  }

  if (check.list) {
    for (const Compared& c : all) print_line(c, check.tolerance);
    for (const TensorEntry* const e : unknown)
      std::printf("  %-44s not compared: no module here puts it out\n",
                  detail::printable(e->name).c_str());
  }
  std::size_t compared = 0;
  const Compared* last = nullptr;
  const Compared* first_wrong = nullptr;
  for (const Compared& c : all) {
    if (!c.difference) continue;
    ++compared;
    last = &c;
    if (first_wrong == nullptr && !c.holds(check.tolerance)) first_wrong = &c;
  }
  std::printf("modules: %zu of %zu recorded compared", compared, recorded);
  if (all.empty())
    std::printf("; expected mid.<official module path>, found %s and the like",
                detail::printable(unknown[0]->name).c_str());
  else if (first_wrong != nullptr)
    std::printf("%s", check.outputs_hold ? "; one diverges though the outputs hold" : "");
  else if (last != nullptr && check.outputs_hold)
    std::printf(", all hold");
  else if (last != nullptr)
    std::printf(", all hold: the difference comes after %s", last->ours->name.c_str());
  std::printf("\n");
  if (first_wrong != nullptr) print_divergence(all, *first_wrong, check.tolerance);
  for (const Compared& c : all)
    if (!c.difference && !check.list) print_line(c, check.tolerance);
}

}  // namespace sequin_cli
