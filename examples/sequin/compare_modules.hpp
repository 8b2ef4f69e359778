/// The outputs of inner modules, recorded as `mid.<official module path>`, against ours: which is
/// the first that diverges.
#pragma once

#include "case_io.hpp"

#include <vector>

namespace sequin_cli {

/// What a check found about the outputs, for the report on the modules.
struct ModuleCheck {
  double tolerance = 0;
  bool outputs_hold = false;
  bool list = false;      ///< a line for each module
  bool streamed = false;  ///< nothing was traced
};

/// Prints how the modules that both sides have compare, in the order of execution: how many hold,
/// and of one that does not the name, the largest difference and the last before it that held.
/// `ours` are named by their paths. Prints nothing for a file without `mid.*` whose outputs hold.
void report_modules(const sequin::SafetensorsFile& file, const std::vector<OwnedTensor>& ours,
                    const ModuleCheck& check);

}  // namespace sequin_cli
