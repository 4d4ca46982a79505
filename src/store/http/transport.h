#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "codec/codec.h"
#include "io/shelf.h"

namespace weir::store {

/// An HTTP request as it is sent: no meaningful header is added.
struct Request {
  struct Header {
    std::string name;
    std::string value;
  };
  std::string method;  ///< "GET", "HEAD", "PUT", "POST", "DELETE"
  std::string url{};
  std::vector<Header> headers{};
  io::Bytes* body = nullptr;  ///< not owned; nullptr: none
  /// Receives the body of an answer with status 200 or 206, in pieces; returning false aborts the
  /// request. Empty: the body becomes part of the answer.
  codec::Sink sink = nullptr;
};

struct Answer {
  long status = 0;
  std::map<std::string, std::string> headers{};  ///< names in lower case
  std::string body{};

  [[nodiscard]] const std::string* header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? nullptr : &found->second;
  }
};

/// There was no answer.
class NoAnswer : public ErrorAs<NoAnswer> {
 public:
  enum class Why {
    not_reached,   ///< nothing was sent
    not_believed,  ///< the peer's certificate was rejected
    broken,        ///< the request may have been executed
    silent,        ///< likewise
    given_up,      ///< stopped by the caller or the sink
    wrong,         ///< invalid settings
  };
  NoAnswer(Why why, const std::string& reason);
  [[nodiscard]] Why why() const { return why_; }

 private:
  Why why_;
};

/// Sends requests to servers and returns their answers. Any thread; connections are reused.
class Transport {
 public:
  virtual ~Transport() = default;
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  /// Throws NoAnswer; what reading the body or the sink throws passes through.
  [[nodiscard]] virtual Answer perform(const Request& request) = 0;
};

}  // namespace weir::store
