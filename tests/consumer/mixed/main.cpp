#include "mean.hpp"

int main() { return mean(sequin::Tensor<float, 1>({4}, 1.0f)) == 1.0f ? 0 : 1; }
