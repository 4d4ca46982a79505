#pragma once

// What the program and the metrics module say to each other. The module is a shared library that
// is loaded only where metrics are asked for: prometheus-cpp would make every
// start of the program slower, and `pgweir restore` starts once for each segment. Plain C, so that
// program and module may be linked with different C++ runtimes. No exception crosses it.

#include <stddef.h>

extern "C" {

struct pgweir_label {
  const char* name;
  const char* value;
};
struct pgweir_sample {
  const pgweir_label* labels;
  size_t label_count;
  double value;
};
struct pgweir_family {
  const char* name;
  const char* help;
  int counter;
  const pgweir_sample* samples;
  size_t sample_count;
};

/// Given text that is valid for the time of the call.
typedef void (*pgweir_take_text)(void* context, const char* text, size_t size);

/// Of this header: a module of another number is not used.
#define PGWEIR_METRICS_INTERFACE 2

/// The table of a module, by the name pgweir_metrics.
struct pgweir_metrics_module {
  int interface_number;
  /// Prometheus's text format. 0, or -1 and `text` has the reason.
  int (*text)(const pgweir_family* families, size_t count, pgweir_take_text take, void* taker);
};

}  // extern "C"
