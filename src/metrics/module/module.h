#pragma once

// What the program and the metrics module say to each other. The module is a shared library that
// is loaded only where metrics are asked for: prometheus-cpp and its HTTP server would make every
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
/// Given families that are valid for the time of the call.
typedef void (*pgweir_take_families)(void* context, const pgweir_family* families, size_t count);
/// Asks for the present values: calls `take` with `taker` once, or never if there are none.
typedef void (*pgweir_collect)(void* context, pgweir_take_families take, void* taker);

/// Of this header: a module of another number is not used.
#define PGWEIR_METRICS_INTERFACE 1

/// The table of a module, by the name pgweir_metrics.
struct pgweir_metrics_module {
  int interface_number;
  /// Prometheus's text format. 0, or -1 and `text` has the reason.
  int (*text)(const pgweir_family* families, size_t count, pgweir_take_text take, void* taker);
  /// Serves GET /metrics at "127.0.0.1:9187" or "[::1]:9187" from threads of its own, which call
  /// `collect`. nullptr and a reason by `refused` if that is not possible.
  void* (*listen)(const char* address, pgweir_collect collect, void* context,
                  pgweir_take_text refused, void* taker);
  /// Returns when `collect` is not called any more.
  void (*stop)(void* listener);
};

}  // extern "C"
