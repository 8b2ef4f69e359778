/* What the page of this folder calls beyond sequin_c.h, with the same manners: a status, a text in
 * sequin_last_error(), floats, tables row by row.
 */
#ifndef SEQUIN_WEB_H
#define SEQUIN_WEB_H

#include "../c_abi/sequin_c.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The instruction set that this was compiled for. */
SEQUIN_C_API const char* sequin_web_instruction_set(void);

/* As `sequin forecast FOLDER --input CSV -o OUTPUT [--holdout]`, of an iTransformer: writes OUTPUT
 * and puts a JSON text into *json, to be given to free():
 *   {"columns": [C names], "times": [S dates], "future": [H dates], "history": [S x C numbers],
 *    "values": [H x C numbers], "truth": [H x C numbers, or none], "read_ms": .., "model_ms": ..}
 * On failure *json is NULL. */
SEQUIN_C_API sequin_status sequin_web_forecast(const char* folder, const char* csv, int holdout,
                                               const char* output, char** json);

/* A MossFormer2 that separates speakers. */
typedef struct sequin_separator sequin_separator;

/* On failure *separator is NULL. */
SEQUIN_C_API sequin_status sequin_separator_load(const char* folder, sequin_separator** separator);

/* The samples a second that it takes and gives, and how many speakers it hears. */
SEQUIN_C_API sequin_status sequin_separator_get_sizes(const sequin_separator* separator, int* rate,
                                                      int* speakers);

/* Called with the samples that are done and all of them. */
typedef void (*sequin_progress)(double done, double all);

/* As `sequin separate` with its default segments: mixture [count] -> sources [speakers, count].
 * `input` names it in messages; `progress` may be NULL. */
SEQUIN_C_API sequin_status sequin_separator_run(const sequin_separator* separator,
                                                const char* input, const float* mixture,
                                                size_t count, float* sources,
                                                sequin_progress progress);

/* NULL is allowed. */
SEQUIN_C_API void sequin_separator_destroy(sequin_separator* separator);

#ifdef __cplusplus
}
#endif

#endif
