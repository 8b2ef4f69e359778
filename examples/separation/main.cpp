// Trains a small MossFormer2 to separate two voices, and scores it on voices that it does not know.
#include "commands.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
  CLI::App app("Two speakers out of one recording: mixtures, training, scores", "separation");
  app.require_subcommand(1);
  app.footer(
      "Example: examples/separation/make_speech.sh speech\n"
      "         separation train examples/configs/mossformer2_small_8k.json --speech speech -o "
      "run\n"
      "         separation score run --speech speech/test\n"
      "         separation mix --speech speech/test -o mixtures\n"
      "         sequin separate mixtures/1.wav --model run -o out");
  sequin_separation::Action chosen;
  sequin_separation::add_train(app, chosen);
  sequin_separation::add_score(app, chosen);
  sequin_separation::add_mix(app, chosen);
  try {
    app.parse(argc, argv);
    return chosen();
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "separation: %s\n", e.what());
    return 2;
  }
}
