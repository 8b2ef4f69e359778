#include "replicas.hpp"

#include "commands.hpp"

#if SEQUIN_CLI_MPI
#include "sequin/train/mpi.hpp"
#endif

#include <algorithm>
#include <array>
#include <cstdlib>

namespace sequin_cli {

/// What Open MPI, MPICH with its relatives and Slurm's PMIx leave in the environment. Without it
/// MPI is not even begun.
static bool started_by_mpi() {
  constexpr std::array<const char*, 3> kNames{"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"};
  return std::any_of(kNames.begin(), kNames.end(),
                     [](const char* name) { return std::getenv(name) != nullptr; });
}

int with_replicas(const std::function<int(sequin::Replicas*)>& fn) {
  if (!started_by_mpi()) return fn(nullptr);
#if SEQUIN_CLI_MPI
  return sequin::run_with_mpi([&](sequin::Replicas& replicas) { return fn(&replicas); },
                              kBadRequest);
#else
  throw sequin::ConfigError(
      "started by mpirun, expected to be started alone: this program was built without MPI "
      "(cmake -DSEQUIN_MPI=ON)");
#endif
}

}  // namespace sequin_cli
