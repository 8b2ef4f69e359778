// Whole models with the official sizes, on drawn weights under the official names.
#include "model_line.hpp"

namespace sequin_compare {

void add_model_lines(std::vector<LineMaker>& lines) {
  add_itransformer_lines(lines);
  add_informer_lines(lines);
  add_mamba_lines(lines);
  add_time_moe_lines(lines);
  add_mossformer2_lines(lines);
}

}  // namespace sequin_compare
