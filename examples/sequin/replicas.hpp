// The processes of a training that mpirun started.
#pragma once

#include "sequin/core/replicas.hpp"

#include <functional>

namespace sequin_cli {

/// Calls `fn` and returns its exit code: with nullptr, or with this process's replicas when an MPI
/// started it; an exception in one of them then ends all, after its message. Throws ConfigError
/// when an MPI started it and the program was built without.
int with_replicas(const std::function<int(sequin::Replicas*)>& fn);

}  // namespace sequin_cli
