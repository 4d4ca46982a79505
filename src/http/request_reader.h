#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "http/message.h"

namespace weir::http {

/// Parses a request as its bytes arrive, by Boost.Beast's parser. Bounded: 8 kB of head, 1 kB of
/// body. Pure.
class RequestReader {
 public:
  static constexpr std::size_t kMostHead = 8192;
  static constexpr std::size_t kMostBody = 1024;

  RequestReader();
  ~RequestReader();
  RequestReader(RequestReader&&) noexcept;
  RequestReader& operator=(RequestReader&&) noexcept;

  enum class State {
    more,     ///< it is not complete
    done,     ///< request() has it
    refused,  ///< see status() for the reason
  };
  /// Must not be called after `done` or `refused`.
  State add(std::string_view bytes);
  [[nodiscard]] const Request& request() const;
  /// 400, 413 or 431.
  [[nodiscard]] int status() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::http
