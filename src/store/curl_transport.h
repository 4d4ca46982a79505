#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "store/send_rate.h"
#include "store/transport.h"

namespace weir::store {

/// By libcurl, HTTP/1.1, in the module that belongs to pgweir-store; loaded by the first object.
class CurlTransport final : public Transport {
 public:
  static constexpr std::uint64_t kLeast = 1000;
  struct Settings {
    std::string ca_file{};               ///< empty: the system's authorities
    std::optional<std::string> proxy{};  ///< nullopt: as the environment says; "": none
    std::uint64_t bytes_per_second = 0;  ///< that are sent at most, by all together; 0: any
    std::chrono::milliseconds connect{10'000};
    /// A request that moves less than `least` bytes a second for so long is given up.
    std::chrono::seconds silent{30};
    std::uint64_t least = kLeast;
    /// And after that in any case; 0: it may take as long as it moves.
    std::chrono::milliseconds total{0};
    std::function<bool()> stop =
        nullptr;  ///< asked by all threads: true, and requests are given up
  };
  /// Throws Error{usage} if the module is not there.
  explicit CurlTransport(Settings settings);
  ~CurlTransport() override;

  [[nodiscard]] Answer perform(const Request& request) override;

 private:
  void* take();
  void give_back(void* connection);
  [[nodiscard]] std::size_t wait_for_rate(std::size_t bytes);

  const Settings settings_;
  std::mutex mutex_;
  std::vector<void*> idle_;  ///< connections that nobody uses
  std::mutex rate_mutex_;
  std::optional<SendRate> rate_;
};

}  // namespace weir::store
