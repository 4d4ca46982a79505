#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "http/server.h"
#include "web/entrance.h"
#include "web/facts.h"

namespace weir::web {

/// The pages of one archive by their addresses: which answer a request gets. No address leads to a
/// file. Any thread.
class Site {
 public:
  struct Sources {
    /// The current facts, without waiting; nullopt: none yet.
    std::function<std::optional<Facts>()> facts;
    std::function<http::Answer()> health;     ///< empty: there is no such address
    std::function<http::Answer()> readiness;  ///< likewise
    std::function<http::Answer()> metrics;    ///< likewise; may take long
    bool metrics_are_open = false;            ///< without a token, as on a port of their own
  };
  /// Wrong tokens are reported to `log`, which must outlive it.
  Site(Gate gate, Sources sources, Log& log) : Site(std::move(sources)) {
    entrance_.emplace(std::move(gate), log);
  }
  /// Behind an entrance that another object owns.
  explicit Site(Sources sources) : sources_(std::move(sources)) {}

  [[nodiscard]] http::Server::Reply answer(const http::Request& request);
  /// Replaces the gate. Only for a site with its own entrance.
  void set_gate(Gate gate) { entrance_->set(std::move(gate)); }

 private:
  struct Made {
    std::chrono::steady_clock::time_point at{};
    std::string page, main, json, title;
    bool known = false;
  };
  [[nodiscard]] http::Answer page(const http::Request& request);
  [[nodiscard]] Made made_now();

  std::optional<Entrance> entrance_;
  const Sources sources_;
  std::mutex mutex_;
  Made made_;  ///< for all who ask within a second
};

/// The answer for style sheet, script, icon and the chapter on troubleshooting; nullopt: none of
/// them.
[[nodiscard]] std::optional<http::Answer> asset(std::string_view path);

/// What our script asks for: `main`, or that it has not changed since it had that ETag, apart from
/// the time of the look. The script sends the header X-Parts back as it got it: elements of `main`
/// that are the same come empty then, with data-same, and so do those that were sent a moment ago
/// and have other figures since (10 s; drawings and long tables more). Nothing is held back if the
/// verdict's data-state is another. Each element of `main` has an id.
[[nodiscard]] http::Answer part_answer(const http::Request& request, const std::string& main,
                                       std::string_view title, SystemTime now);

/// Adds the button that ends the session to a page, outside the part that the script renews.
void add_log_out(std::string& page);

/// Compresses what is worth it, for a client that takes gzip (RFC 9110, section 12.5.3).
void shrink(const http::Request& request, http::Answer& answer);

}  // namespace weir::web
