/* Forecasting and streaming from C, and from any language that calls C.
 *
 * Nothing but these functions leaves the shared library: no exception, no symbol, no C++ type. A
 * function that can fail returns a status; sequin_last_error() then says in one line what was
 * expected and what was found. Floats are IEEE single precision, tables lie row by row.
 *
 * A forecaster may be used by several threads at the same time, a stream by one at a time.
 */
#ifndef SEQUIN_C_H
#define SEQUIN_C_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(SEQUIN_C_BUILD)
#define SEQUIN_C_API __declspec(dllexport)
#else
#define SEQUIN_C_API __declspec(dllimport)
#endif
#else
#define SEQUIN_C_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sequin_status {
  SEQUIN_OK = 0,
  SEQUIN_BAD_ARGUMENT = 1, /* a null pointer, a count or a token that does not fit */
  SEQUIN_BAD_CONFIG = 2,   /* config.json asks for what is not there */
  SEQUIN_BAD_FILE = 3,     /* a file is missing or damaged, or its tensors are not the model's */
  SEQUIN_NO_MEMORY = 4,
  SEQUIN_FAILED = 5 /* anything else */
} sequin_status;

/* The library's version, "major.minor.patch". */
SEQUIN_C_API const char* sequin_version(void);

/* Why the last call of this thread failed; "" when it did not. Valid until this thread's next call
 * of a function that returns a status. */
SEQUIN_C_API const char* sequin_last_error(void);

/* iTransformer or Informer, as its config.json says. */
typedef struct sequin_forecaster sequin_forecaster;

typedef struct sequin_sizes {
  size_t steps;   /* rows of history that a forecast is made from */
  size_t horizon; /* rows that it forecasts */
  size_t inputs;  /* columns of the history; 0: any number */
  size_t outputs; /* columns of the forecast, the last ones of the history; 0: all */
} sequin_sizes;

/* Loads config.json and the weights beside it, and scaler.csv where training left one; the series
 * are then given and forecast in their own unit, else as the model was trained. On failure
 * *forecaster is NULL. */
SEQUIN_C_API sequin_status sequin_forecaster_load(const char* folder,
                                                  sequin_forecaster** forecaster);

SEQUIN_C_API sequin_status sequin_forecaster_get_sizes(const sequin_forecaster* forecaster,
                                                       sequin_sizes* sizes);

/* Forecasts from the history [steps, columns] of history_count values. marks [steps + horizon, K]
 * are the time marks that the model was trained with, of the history and of the future, or NULL.
 * Writes forecast [horizon, outputs or columns], whose forecast_count values it must have room
 * for exactly; on failure nothing is written. */
SEQUIN_C_API sequin_status sequin_forecaster_run(const sequin_forecaster* forecaster,
                                                 const float* history, size_t history_count,
                                                 size_t columns, const float* marks,
                                                 size_t marks_count, float* forecast,
                                                 size_t forecast_count);

/* NULL is allowed. */
SEQUIN_C_API void sequin_forecaster_destroy(sequin_forecaster* forecaster);

/* A Mamba that reads one token at a time, and the state of what it has read. */
typedef struct sequin_stream sequin_stream;

/* Loads the model of a folder. On failure *stream is NULL. */
SEQUIN_C_API sequin_status sequin_stream_open(const char* folder, sequin_stream** stream);

/* The number of logits, which is that of the tokens, padded as in the official code. */
SEQUIN_C_API sequin_status sequin_stream_get_vocabulary(const sequin_stream* stream, size_t* count);

/* Reads a token and writes the logits of the next, `count` of them: the vocabulary. Takes no memory
 * and no lock. On failure the state is as before. */
SEQUIN_C_API sequin_status sequin_stream_step(sequin_stream* stream, int64_t token, float* logits,
                                              size_t count);

/* Back to before the first token. */
SEQUIN_C_API sequin_status sequin_stream_reset(sequin_stream* stream);

/* NULL is allowed. */
SEQUIN_C_API void sequin_stream_destroy(sequin_stream* stream);

#ifdef __cplusplus
}
#endif

#endif
