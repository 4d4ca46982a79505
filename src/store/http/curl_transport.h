#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "store/http/send_rate.h"
#include "store/http/transport.h"

namespace weir::store {

/// Uses libcurl, HTTP/1.1, in the module of the package pgweir-store, which the first object loads.
class CurlTransport final : public Transport {
 public:
  static constexpr std::uint64_t kLeast = 1000;
  struct Settings {
    std::string ca_file{};               ///< empty: the system's CA certificates
    std::optional<std::string> proxy{};  ///< nullopt: as the environment says; "": none
    std::uint64_t bytes_per_second = 0;  ///< maximum upload rate of all requests together; 0: no
                                         ///< limit
    std::chrono::milliseconds connect{10'000};
    /// A request that transfers less than `least` bytes per second for this long is aborted.
    std::chrono::seconds silent{30};
    std::uint64_t least = kLeast;
    /// Maximum duration of a request; 0: no limit.
    std::chrono::milliseconds total{0};
    std::function<bool()> stop = nullptr;  ///< called by all threads; true aborts requests
  };
  /// Throws Error{usage} if the module is not installed.
  explicit CurlTransport(Settings settings);
  ~CurlTransport() override;

  [[nodiscard]] Answer perform(const Request& request) override;

 private:
  void* take();
  void give_back(void* connection);
  [[nodiscard]] std::size_t wait_for_rate(std::size_t bytes);

  const Settings settings_;
  /// libcurl waits for "100 Continue" before a large body: that takes a round trip, or a second if
  /// none comes, but a rejected body is not sent. Once the store has accepted one, the next ones
  /// are sent at once, until one is not accepted: a store that rejects a body unread may close the
  /// connection so that its answer is lost, and the retry, which waits, receives it.
  std::atomic<bool> sends_at_once_ = false;
  std::mutex mutex_;
  std::vector<void*> idle_;  ///< idle connections
  std::mutex rate_mutex_;
  std::optional<SendRate> rate_;
};

}  // namespace weir::store
