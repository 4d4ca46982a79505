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

/// A request of HTTP as it is sent: nothing is added that has a meaning.
struct Request {
  struct Header {
    std::string name;
    std::string value;
  };
  std::string method;  ///< "GET", "HEAD", "PUT", "POST", "DELETE"
  std::string url{};
  std::vector<Header> headers{};
  io::Bytes* body = nullptr;  ///< not owned; nullptr: none
  /// Is given the body of an answer of 200 or 206, in pieces; false: it has had enough, and the
  /// request is given up. Empty: the body becomes part of the answer.
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

/// No answer came.
class NoAnswer : public ErrorAs<NoAnswer> {
 public:
  enum class Why {
    not_reached,   ///< nothing was sent
    not_believed,  ///< the other side's certificate
    broken,        ///< the request may have been done
    silent,        ///< likewise
    given_up,      ///< asked to stop, or the sink had enough
    wrong,         ///< the settings
  };
  NoAnswer(Why why, const std::string& reason);
  [[nodiscard]] Why why() const { return why_; }

 private:
  Why why_;
};

/// Carries requests to whoever they are for, and answers back. Any thread; connections are kept.
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
