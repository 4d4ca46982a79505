#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "store/transport.h"

namespace weir::store {

/// By libcurl, HTTP/1.1, in the module that belongs to pgweir-store; loaded by the first object.
class CurlTransport final : public Transport {
 public:
  struct Settings {
    std::string ca_file{};               ///< empty: the system's authorities
    std::optional<std::string> proxy{};  ///< nullopt: as the environment says; "": none
    std::uint64_t bytes_per_second = 0;  ///< that one connection sends at most; 0: any
    std::chrono::milliseconds connect{10'000};
    std::chrono::seconds silent{30};
    std::chrono::milliseconds total{15 * 60'000};  ///< a signature is good for so long
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

  const Settings settings_;
  std::mutex mutex_;
  std::vector<void*> idle_;  ///< connections that nobody uses
};

}  // namespace weir::store
