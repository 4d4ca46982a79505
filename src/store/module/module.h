#pragma once

// Interface between the program and the store's module, a shared library that is loaded only if an
// object store is used: libcurl loads 30 more libraries, seven times the program's startup, and
// `pgweir restore` starts once for each segment. Plain C, so that program and module can be linked
// with different C++ runtimes. No exception crosses it. The program signs requests: the module
// never has a secret key.

#include <stddef.h>
#include <stdint.h>

extern "C" {

struct pgweir_http_settings {
  const char* ca_file;  ///< nullptr: the system's CA certificates
  const char* proxy;    ///< nullptr: from the environment; "": none
  const char* agent;
  long connect_ms;
  long silent_seconds;  ///< abort if slower for this long
  long least_speed;     ///< bytes per second
  long total_ms;        ///< maximum duration of a request; 0: no limit
};

struct pgweir_http_request {
  const char* method;          ///< "GET", "HEAD", "PUT", "POST", "DELETE"
  const char* url;             ///< used unchanged
  const char* const* headers;  ///< "name: value"
  size_t header_count;
  uint64_t body_size;
  void* context;
  /// Fills `bytes` from this offset of the body on. Returns the number of bytes, or -1 to abort the
  /// request.
  long (*read_body)(void* context, uint64_t offset, void* bytes, size_t size);
  void (*take_header)(void* context, const char* name, size_t name_size, const char* value,
                      size_t value_size);
  /// Returns 0 to continue, otherwise the request is aborted.
  int (*take_body)(void* context, long status, const void* bytes, size_t size);
  /// Polled; a result other than 0 aborts the request.
  int (*stop)(void* context);
};

enum pgweir_http_outcome {
  PGWEIR_HTTP_ANSWERED = 0,
  PGWEIR_HTTP_NOT_REACHED = 1,   ///< DNS or connection failure: nothing was sent
  PGWEIR_HTTP_NOT_BELIEVED = 2,  ///< TLS: the certificate was rejected
  PGWEIR_HTTP_BROKEN = 3,        ///< the request may have been executed
  PGWEIR_HTTP_SILENT = 4,        ///< likewise, timed out
  PGWEIR_HTTP_GIVEN_UP = 5,      ///< by a callback
  PGWEIR_HTTP_WRONG = 6,         ///< invalid settings or request
};

struct pgweir_http_result {
  int outcome;
  long status;       ///< HTTP status; 0 if there was no answer
  char reason[256];  ///< libcurl's message
};

/// Version of this header: a module with another number is not used.
#define PGWEIR_STORE_INTERFACE 2

/// The function table of a module, exported as pgweir_store.
struct pgweir_store_module {
  int interface_number;
  /// A connection that is reused for several requests. nullptr: out of memory, or an invalid CA
  /// file or proxy.
  void* (*open)(const pgweir_http_settings* settings);
  void (*perform)(void* connection, const pgweir_http_request* request, pgweir_http_result* result);
  void (*close)(void* connection);
};

}  // extern "C"
