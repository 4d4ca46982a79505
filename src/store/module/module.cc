#include "store/module/module.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <string_view>

namespace {

struct Connection {
  CURL* curl = nullptr;
  char error[CURL_ERROR_SIZE] = {};
};

struct Exchange {
  Connection* connection = nullptr;
  const pgweir_http_request* request = nullptr;
  uint64_t offset = 0;  ///< of the next byte to read
  bool given_up = false;
};

size_t read_body(char* bytes, size_t size, size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  const auto& request = *exchange.request;
  const auto wanted = std::min<uint64_t>(size * count, request.body_size - exchange.offset);
  if (wanted == 0) return 0;
  const long got = request.read_body(request.context, exchange.offset, bytes, wanted);
  if (got < 0) {
    exchange.given_up = true;
    return CURL_READFUNC_ABORT;
  }
  exchange.offset += static_cast<uint64_t>(got);
  return static_cast<size_t>(got);
}

/// A reused connection had ended, and libcurl restarts on another one.
int rewind_body(void* context, curl_off_t offset, int) {
  static_cast<Exchange*>(context)->offset = static_cast<uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

size_t take_header(char* line, size_t size, size_t count, void* context) {
  const auto& request = *static_cast<Exchange*>(context)->request;
  const std::string_view text(line, size * count);
  const auto colon = text.find(':');
  if (colon != std::string_view::npos) {
    auto value = text.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
      value.remove_prefix(1);
    while (!value.empty() && (value.back() == '\r' || value.back() == '\n' || value.back() == ' '))
      value.remove_suffix(1);
    request.take_header(request.context, text.data(), colon, value.data(), value.size());
  }
  return size * count;
}

size_t take_body(char* bytes, size_t size, size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  long status = 0;
  curl_easy_getinfo(exchange.connection->curl, CURLINFO_RESPONSE_CODE, &status);
  if (exchange.request->take_body(exchange.request->context, status, bytes, size * count) == 0)
    return size * count;
  exchange.given_up = true;
  return 0;
}

int ask_stop(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(context);
  if (exchange.request->stop(exchange.request->context) == 0) return 0;
  exchange.given_up = true;
  // Otherwise libcurl waits until its thread has looked up the name, which may take a minute.
  curl_easy_setopt(exchange.connection->curl, CURLOPT_QUICK_EXIT, 1L);
  return 1;
}

int outcome_of(CURLcode code, const Exchange& exchange) {
  if (exchange.given_up) return PGWEIR_HTTP_GIVEN_UP;
  switch (code) {
    case CURLE_OK:
      return PGWEIR_HTTP_ANSWERED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return PGWEIR_HTTP_NOT_REACHED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return PGWEIR_HTTP_NOT_BELIEVED;
    case CURLE_OPERATION_TIMEDOUT:
      return PGWEIR_HTTP_SILENT;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
      return PGWEIR_HTTP_WRONG;
    default:
      return PGWEIR_HTTP_BROKEN;
  }
}

void* open_connection(const pgweir_http_settings* settings) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  auto* const connection = new (std::nothrow) Connection;
  if (connection == nullptr) return nullptr;
  connection->curl = curl_easy_init();
  auto* const curl = connection->curl;
  bool good = curl != nullptr;
  const auto set = [&](auto option, auto value) {
    good = good && curl_easy_setopt(curl, option, value) == CURLE_OK;
  };
  set(CURLOPT_ERRORBUFFER, connection->error);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);  // never with a signature
  set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  set(CURLOPT_USERAGENT, settings->agent);
  set(CURLOPT_CONNECTTIMEOUT_MS, settings->connect_ms);
  set(CURLOPT_LOW_SPEED_LIMIT, settings->least_speed);
  set(CURLOPT_LOW_SPEED_TIME, settings->silent_seconds);
  set(CURLOPT_TIMEOUT_MS, settings->total_ms);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_UPLOAD_BUFFERSIZE, 512L * 1024);
  set(CURLOPT_BUFFERSIZE, 256L * 1024);
  if (settings->ca_file != nullptr) set(CURLOPT_CAINFO, settings->ca_file);
  if (settings->proxy != nullptr) set(CURLOPT_PROXY, settings->proxy);
  if (good) return connection;
  if (curl != nullptr) curl_easy_cleanup(curl);
  delete connection;
  return nullptr;
}

void close_connection(void* context) {
  auto* const connection = static_cast<Connection*>(context);
  curl_easy_cleanup(connection->curl);
  delete connection;
}

void perform(void* context, const pgweir_http_request* request, pgweir_http_result* result) {
  auto& connection = *static_cast<Connection*>(context);
  auto* const curl = connection.curl;
  Exchange exchange{&connection, request};
  curl_slist* headers = nullptr;
  bool good = true;
  for (size_t i = 0; i < request->header_count; ++i) {
    auto* const longer = curl_slist_append(headers, request->headers[i]);
    good = good && longer != nullptr;
    if (longer != nullptr) headers = longer;
  }
  const auto set = [&](auto option, auto value) {
    good = good && curl_easy_setopt(curl, option, value) == CURLE_OK;
  };
  const std::string_view method = request->method;
  connection.error[0] = '\0';
  // Each sets the method as well, and resets the previous request's.
  set(CURLOPT_CUSTOMREQUEST, static_cast<const char*>(nullptr));
  set(CURLOPT_NOBODY, 0L);
  set(CURLOPT_HTTPGET, 1L);
  if (method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (method == "PUT") {
    set(CURLOPT_UPLOAD, 1L);
    set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request->body_size));
  } else if (method == "POST") {
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request->body_size));
  } else if (method != "GET") {
    set(CURLOPT_CUSTOMREQUEST, request->method);
  }
  set(CURLOPT_URL, request->url);
  set(CURLOPT_PATH_AS_IS, 1L);  // the path was signed
  set(CURLOPT_HTTPHEADER, headers);
  set(CURLOPT_READFUNCTION, &read_body);
  set(CURLOPT_READDATA, &exchange);
  set(CURLOPT_SEEKFUNCTION, &rewind_body);
  set(CURLOPT_SEEKDATA, &exchange);
  set(CURLOPT_HEADERFUNCTION, &take_header);
  set(CURLOPT_HEADERDATA, &exchange);
  set(CURLOPT_WRITEFUNCTION, &take_body);
  set(CURLOPT_WRITEDATA, &exchange);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &ask_stop);
  set(CURLOPT_XFERINFODATA, &exchange);
  set(CURLOPT_QUICK_EXIT, 0L);
  const auto code = good ? curl_easy_perform(curl) : CURLE_FAILED_INIT;
  result->outcome = outcome_of(code, exchange);
  result->status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &result->status);
  const char* const reason =
      connection.error[0] != '\0' ? connection.error : curl_easy_strerror(code);
  std::snprintf(result->reason, sizeof result->reason, "%s", code == CURLE_OK ? "" : reason);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, nullptr);
  curl_slist_free_all(headers);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const pgweir_store_module pgweir_store = {
    PGWEIR_STORE_INTERFACE, &open_connection, &perform, &close_connection};
