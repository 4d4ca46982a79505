#pragma once

// What the program and the store's module say to each other. The module is a shared library that is
// loaded only where an object store is asked for: libcurl loads 30 libraries more, seven times what
// a start of the program takes, and `pgweir restore` starts once for each segment. Plain C, so that
// program and module may be linked with different C++ runtimes. No exception crosses it. Requests
// are signed by the program: the module never has a secret key.

#include <stddef.h>
#include <stdint.h>

extern "C" {

struct pgweir_http_settings {
  const char* ca_file;  ///< nullptr: the system's authorities
  const char* proxy;    ///< nullptr: as the environment says; "": none
  const char* agent;
  long connect_ms;
  long silent_seconds;  ///< given up when less than that moves for so long
  long least_speed;     ///< bytes a second
  long total_ms;        ///< and after that in any case; 0: there is no such bound
};

struct pgweir_http_request {
  const char* method;          ///< "GET", "HEAD", "PUT", "POST", "DELETE"
  const char* url;             ///< is taken as it is
  const char* const* headers;  ///< "name: value"
  size_t header_count;
  uint64_t body_size;
  void* context;
  /// Fills `bytes` from this offset of the body on; how many, or -1: the request is given up.
  long (*read_body)(void* context, uint64_t offset, void* bytes, size_t size);
  void (*take_header)(void* context, const char* name, size_t name_size, const char* value,
                      size_t value_size);
  /// 0: go on; else the request is given up.
  int (*take_body)(void* context, long status, const void* bytes, size_t size);
  /// Asked now and then: not 0, and the request is given up.
  int (*stop)(void* context);
};

enum pgweir_http_outcome {
  PGWEIR_HTTP_ANSWERED = 0,
  PGWEIR_HTTP_NOT_REACHED = 1,   ///< no name, no connection: nothing was sent
  PGWEIR_HTTP_NOT_BELIEVED = 2,  ///< TLS: the certificate is not one that is believed
  PGWEIR_HTTP_BROKEN = 3,        ///< anything may have become of the request
  PGWEIR_HTTP_SILENT = 4,        ///< likewise, for lack of time
  PGWEIR_HTTP_GIVEN_UP = 5,      ///< by a callback
  PGWEIR_HTTP_WRONG = 6,         ///< the settings or the request cannot be used
};

struct pgweir_http_result {
  int outcome;
  long status;       ///< HTTP's; 0 if there was no answer
  char reason[256];  ///< libcurl's words
};

/// Of this header: a module of another number is not used.
#define PGWEIR_STORE_INTERFACE 2

/// The table of a module, by the name pgweir_store.
struct pgweir_store_module {
  int interface_number;
  /// A connection that is kept from one request to the next. nullptr: out of memory, or a CA file
  /// or proxy that cannot be taken.
  void* (*open)(const pgweir_http_settings* settings);
  void (*perform)(void* connection, const pgweir_http_request* request, pgweir_http_result* result);
  void (*close)(void* connection);
};

}  // extern "C"
