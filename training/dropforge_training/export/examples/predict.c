/* Predict rows of tab-separated text from standard input, one row a line, cells in the order of the model's inputs; an empty cell is
 * missing, a date is days since 1970-01-01. Prints the label and the probabilities, or the number of a regression, by row.
 *
 *     cc -O2 -o predict predict.c -ldl -lm
 *     ./predict libonnxruntime.so model.onnx < example.tsv
 *
 * libonnxruntime comes with every release of ONNX Runtime, also inside its Python and Node packages. Its C interface is one table of
 * functions that only grows, so this file names the dozen it calls by their places and needs no header. A program of your own may as
 * well include onnxruntime_c_api.h. */
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE = 2, ENVIRONMENT = 3, SESSION = 7, RUN = 9, OPTIONS = 10, INPUTS = 30, OUTPUTS = 31, INPUT_TYPE = 33, INPUT_NAME = 36,
       OUTPUT_NAME = 37, CREATE = 48, DATA = 51, FILL = 52, TEXT_LENGTH = 53, TEXT = 54, TENSOR_INFO = 55, TYPE = 60, COUNT = 64,
       SHAPE = 65, ALLOCATOR = 78 };
enum { STRING = 8, DOUBLE = 11 };
typedef void *P;
typedef struct { P (*api)(uint32_t version); } Base;
#define MOST 4096

static P *api; /* the table: every entry is a pointer to a function */
#define CALL(place, types, ...) check(((P(*) types)api[place])(__VA_ARGS__))

static void check(P status) {
  if (!status) return;
  fprintf(stderr, "%s\n", ((const char *(*)(P))api[MESSAGE])(status));
  exit(1);
}

static void print(P value) {
  P info; int type; size_t count;
  CALL(SHAPE, (P, P *), value, &info);
  CALL(TYPE, (P, int *), info, &type);
  CALL(COUNT, (P, size_t *), info, &count);
  if (type == STRING) {
    size_t length, offset;
    CALL(TEXT_LENGTH, (P, size_t *), value, &length);
    char *text = calloc(length + 1, 1);
    CALL(TEXT, (P, P, size_t, size_t *, size_t), value, text, length, &offset, 1);
    printf("%s", text);
    free(text);
    return;
  }
  double *numbers;
  CALL(DATA, (P, double **), value, &numbers);
  for (size_t i = 0; i < count; i++) printf(i ? "\t%.17g" : "%.17g", numbers[i]);
}

int main(int argc, char **argv) {
  P library = argc > 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
  if (!library) { fprintf(stderr, "%s\n", argc > 2 ? dlerror() : "usage: predict LIBONNXRUNTIME MODEL"); return 2; }
  const Base *(*base)(void) = (const Base *(*)(void))dlsym(library, "OrtGetApiBase");
  api = (P *)base()->api(17);
  P environment, options, session, allocator, info;
  CALL(ENVIRONMENT, (int, const char *, P *), 3, "predict", &environment);
  CALL(OPTIONS, (P *), &options);
  CALL(SESSION, (P, const char *, P, P *), environment, argv[2], options, &session);
  CALL(ALLOCATOR, (P *), &allocator);
  size_t inputs, outputs;
  CALL(INPUTS, (P, size_t *), session, &inputs);
  CALL(OUTPUTS, (P, size_t *), session, &outputs);
  static char *names[MOST], *results[2]; static int types[MOST]; static P values[MOST];
  if (inputs > MOST || outputs > 2) { fprintf(stderr, "more than %d inputs\n", MOST); return 2; }
  for (size_t i = 0; i < inputs; i++) {
    CALL(INPUT_NAME, (P, size_t, P, char **), session, i, allocator, &names[i]);
    CALL(INPUT_TYPE, (P, size_t, P *), session, i, &info);
    P tensor;
    CALL(TENSOR_INFO, (P, P *), info, &tensor);
    CALL(TYPE, (P, int *), tensor, &types[i]);
    int64_t one[] = {1, 1};
    CALL(CREATE, (P, int64_t *, size_t, int, P *), allocator, one, 2, types[i], &values[i]);
  }
  for (size_t i = 0; i < outputs; i++) CALL(OUTPUT_NAME, (P, size_t, P, char **), session, i, allocator, &results[i]);
  char *line = NULL; size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    char *rest = line;
    line[strcspn(line, "\r\n")] = 0;
    for (size_t i = 0; i < inputs; i++) {
      const char *cell = rest ? strsep(&rest, "\t") : "";
      double *number;
      if (types[i] == STRING) { CALL(FILL, (P, const char **, size_t), values[i], &cell, 1); continue; }
      CALL(DATA, (P, double **), values[i], &number);
      *number = *cell ? strtod(cell, NULL) : NAN;
    }
    P predicted[2] = {NULL, NULL};
    CALL(RUN, (P, P, char **, P *, size_t, char **, size_t, P *), session, NULL, names, values, inputs, results, outputs, predicted);
    for (size_t i = 0; i < outputs; i++) { if (i) putchar('\t'); print(predicted[i]); }
    putchar('\n');
  }
  return 0;
}
