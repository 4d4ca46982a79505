#include "store/http/curl_transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include "base/library.h"
#include "store/module/module.h"

namespace weir::store {

namespace {

/// Maximum size of a body in memory: a page of a listing has at most 1000 keys of 1 kB.
constexpr std::size_t kLargestBody = std::size_t{16} << 20;

/// libcurl sends "Expect: 100-continue" with a larger body (EXPECT_100_THRESHOLD).
constexpr std::uint64_t kWaitsAbove = std::uint64_t{1} << 20;

const pgweir_store_module& module() {
  static const auto library = Library::module(
      "libpgweir-store.so",
      "Install the package pgweir-store. It is built where libcurl4-openssl-dev is installed, and "
      "belongs next to the program or into ../lib/pgweir.");
  static const auto& loaded =
      interface_of<pgweir_store_module>(library, "pgweir_store", PGWEIR_STORE_INTERFACE);
  return loaded;
}

/// One request: the context of the module's callbacks.
struct Exchange {
  const Request& request;
  const std::function<bool()>& stop;
  /// Returns how many of these bytes may be sent now; 0: stop.
  const std::function<std::size_t(std::size_t)> may_send;
  Answer answer{};
  std::exception_ptr failure{};
};

long read_body(void* context, uint64_t offset, void* bytes, size_t size) {
  auto& exchange = *static_cast<Exchange*>(context);
  try {
    const auto now = exchange.may_send(size);
    if (now == 0) return -1;
    const auto read =
        exchange.request.body->read_at(offset, std::span(static_cast<std::byte*>(bytes), now));
    if (read > 0) return static_cast<long>(read);
    throw Error(ErrorKind::io, "a file ended while it was sent");
  } catch (...) {
    exchange.failure = std::current_exception();
    return -1;
  }
}

void take_header(void* context, const char* name, size_t name_size, const char* value,
                 size_t value_size) {
  auto& exchange = *static_cast<Exchange*>(context);
  try {
    std::string lower(name, name_size);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    exchange.answer.headers[lower] = std::string(value, value_size);
  } catch (...) {
    exchange.failure = std::current_exception();
  }
}

int take_body(void* context, long status, const void* bytes, size_t size) {
  auto& exchange = *static_cast<Exchange*>(context);
  try {
    const auto& sink = exchange.request.sink;
    if (sink && (status == 200 || status == 206))
      return sink(std::span(static_cast<const std::byte*>(bytes), size)) ? 0 : 1;
    auto& body = exchange.answer.body;
    if (body.size() + size > kLargestBody)
      throw Error(ErrorKind::protocol, "the store's response is too long");
    body.append(static_cast<const char*>(bytes), size);
    return 0;
  } catch (...) {
    exchange.failure = std::current_exception();
    return 1;
  }
}

int ask_stop(void* context) {
  const auto& exchange = *static_cast<const Exchange*>(context);
  return exchange.stop && exchange.stop() ? 1 : 0;
}

NoAnswer::Why why_of(int outcome) {
  switch (outcome) {
    case PGWEIR_HTTP_NOT_REACHED:
      return NoAnswer::Why::not_reached;
    case PGWEIR_HTTP_NOT_BELIEVED:
      return NoAnswer::Why::not_believed;
    case PGWEIR_HTTP_SILENT:
      return NoAnswer::Why::silent;
    case PGWEIR_HTTP_GIVEN_UP:
      return NoAnswer::Why::given_up;
    case PGWEIR_HTTP_WRONG:
      return NoAnswer::Why::wrong;
    default:
      return NoAnswer::Why::broken;
  }
}

}  // namespace

NoAnswer::NoAnswer(Why why, const std::string& reason)
    : ErrorAs(why == Why::not_believed ? ErrorKind::refused
              : why == Why::wrong      ? ErrorKind::usage
                                       : ErrorKind::retry,
              reason),
      why_(why) {}

CurlTransport::CurlTransport(Settings settings) : settings_(std::move(settings)) {
  static_cast<void>(module());
  if (settings_.bytes_per_second > 0) rate_.emplace(settings_.bytes_per_second);
}

CurlTransport::~CurlTransport() {
  for (auto* const connection : idle_) module().close(connection);
}

void* CurlTransport::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto* const connection = idle_.back();
      idle_.pop_back();
      return connection;
    }
  }
  const pgweir_http_settings settings = {
      settings_.ca_file.empty() ? nullptr : settings_.ca_file.c_str(),
      settings_.proxy ? settings_.proxy->c_str() : nullptr,
      "pgweir/" PGWEIR_VERSION,
      static_cast<long>(settings_.connect.count()),
      static_cast<long>(settings_.silent.count()),
      static_cast<long>(settings_.least),
      static_cast<long>(settings_.total.count())};
  auto* const connection = module().open(&settings);
  if (connection == nullptr)
    throw NoAnswer(NoAnswer::Why::wrong, "libcurl rejected the settings for the store");
  return connection;
}

void CurlTransport::give_back(void* connection) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(connection);
}

/// Returns how many of these bytes to send next; 0: stop.
std::size_t CurlTransport::wait_for_rate(std::size_t bytes) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kAskEvery{100};
  if (!rate_) return bytes;
  SendRate::Time when;
  {
    const std::lock_guard lock(rate_mutex_);
    bytes = rate_->piece(bytes);
    when = rate_->take(bytes, Clock::now());
  }
  for (auto now = Clock::now(); now < when; now = Clock::now()) {
    if (settings_.stop && settings_.stop()) return 0;
    std::this_thread::sleep_for(std::min<Clock::duration>(when - now, kAskEvery));
  }
  return bytes;
}

Answer CurlTransport::perform(const Request& request) {
  std::vector<std::string> lines;
  // For an empty value libcurl needs "name;"; "name:" would remove the header.
  for (const auto& header : request.headers)
    lines.push_back(header.value.empty() ? header.name + ";" : header.name + ": " + header.value);
  if (request.body == nullptr && request.method != "GET" && request.method != "HEAD" &&
      request.method != "DELETE")
    throw NoAnswer(NoAnswer::Why::wrong, "a request of this kind has a body");
  const auto body_size = request.body != nullptr ? request.body->size() : 0;
  const bool is_large = body_size > kWaitsAbove;
  if (is_large && sends_at_once_) lines.emplace_back("Expect:");
  std::vector<const char*> headers;
  for (const auto& line : lines) headers.push_back(line.c_str());

  Exchange exchange{request, settings_.stop,
                    [this](std::size_t bytes) { return wait_for_rate(bytes); }};
  const pgweir_http_request plain = {request.method.c_str(),
                                     request.url.c_str(),
                                     headers.data(),
                                     headers.size(),
                                     body_size,
                                     &exchange,
                                     &read_body,
                                     &take_header,
                                     &take_body,
                                     &ask_stop};
  pgweir_http_result result{};
  auto* const connection = take();
  module().perform(connection, &plain, &result);
  give_back(connection);
  constexpr long kOk = 200;
  constexpr long kRedirect = 300;
  if (is_large)
    sends_at_once_ =
        result.outcome == PGWEIR_HTTP_ANSWERED && result.status >= kOk && result.status < kRedirect;
  if (exchange.failure) std::rethrow_exception(exchange.failure);
  if (result.outcome != PGWEIR_HTTP_ANSWERED)
    throw NoAnswer(why_of(result.outcome), static_cast<const char*>(result.reason));
  exchange.answer.status = result.status;
  return std::move(exchange.answer);
}

}  // namespace weir::store
