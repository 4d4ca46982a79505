#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/seldom_log.h"
#include "http/message.h"
#include "web/gate.h"

namespace weir::web {

/// What comes before every page: the method, the name, the token with its form. Any thread.
class Entrance {
 public:
  /// Wrong tokens are reported to `log`, which must outlive it.
  Entrance(Gate gate, Log& log) : log_(log, 3) { set(std::move(gate)); }

  /// Replaces the gate: sessions that were opened with another token are no longer valid.
  void set(Gate gate);
  [[nodiscard]] bool asks_for_token() const { return gate()->asks_for_token(); }

  /// The answer if access is denied or only the form is requested; nullopt: access is granted.
  [[nodiscard]] std::optional<http::Answer> answer(const http::Request& request);

 private:
  [[nodiscard]] std::shared_ptr<const Gate> gate() const;
  void report_wrong_token(const http::Request& request);

  SeldomLog log_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Gate> gate_;  ///< guarded by mutex_
};

/// "only GET and HEAD" and the like, with its line end.
/// For probes: a proxy must not keep it.
[[nodiscard]] http::Answer probe_answer(http::Answer answer);
[[nodiscard]] http::Answer plain_answer(int status, std::string text);
/// GET or HEAD.
[[nodiscard]] bool only_reads(const http::Request& request);

/// What every page is sent with: it loads nothing from elsewhere, runs no script but ours, and
/// stands in no frame.
void add_safety(http::Answer& answer);

inline constexpr const char* kHtml = "text/html; charset=utf-8";

}  // namespace weir::web
