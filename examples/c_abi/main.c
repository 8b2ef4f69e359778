/* Forecasts from C: reads a table of numbers, row by row, and prints the rows that follow it.
 *
 * usage: c_abi FOLDER < history.txt
 *   FOLDER  config.json and weights of an iTransformer or Informer without time marks
 */
#include "sequin_c.h"

#include <stdio.h>
#include <stdlib.h>

/* All numbers of the file; *count says how many. NULL when there is no memory. */
static float* read_numbers(FILE* file, size_t* count) {
  size_t room = 1024;
  float* numbers = malloc(room * sizeof *numbers);
  float number;
  *count = 0;
  while (numbers != NULL && fscanf(file, "%f", &number) == 1) {
    if (*count == room) {
      float* const larger = realloc(numbers, 2 * room * sizeof *numbers);
      if (larger == NULL) free(numbers);
      numbers = larger;
      room *= 2;
    }
    if (numbers != NULL) numbers[(*count)++] = number;
  }
  return numbers;
}

static sequin_status print_forecast(const sequin_forecaster* forecaster, const float* history,
                                    size_t count) {
  sequin_sizes sizes;
  sequin_status status = sequin_forecaster_get_sizes(forecaster, &sizes);
  if (status != SEQUIN_OK) return status;
  const size_t columns = count / sizes.steps;
  const size_t outputs = sizes.outputs == 0 ? columns : sizes.outputs;
  float* const forecast = malloc((sizes.horizon * outputs + 1) * sizeof *forecast);
  if (forecast == NULL) return SEQUIN_NO_MEMORY;
  status = sequin_forecaster_run(forecaster, history, count, columns, NULL, 0, forecast,
                                 sizes.horizon * outputs);
  if (status == SEQUIN_OK)
    for (size_t i = 0; i < sizes.horizon * outputs; ++i)
      printf("%.9g%c", (double)forecast[i], (i + 1) % outputs == 0 ? '\n' : ' ');
  free(forecast);
  return status;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: c_abi FOLDER < history.txt\n");
    return 2;
  }
  size_t count;
  float* const history = read_numbers(stdin, &count);
  sequin_forecaster* forecaster = NULL;
  sequin_status status =
      history == NULL ? SEQUIN_NO_MEMORY : sequin_forecaster_load(argv[1], &forecaster);
  if (status == SEQUIN_OK) status = print_forecast(forecaster, history, count);
  if (status != SEQUIN_OK)
    fprintf(stderr, "c_abi: status %d: %s\n", (int)status, sequin_last_error());
  sequin_forecaster_destroy(forecaster);
  free(history);
  return status == SEQUIN_OK ? 0 : 2;
}
