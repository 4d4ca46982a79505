#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "archive/serving_view.h"
#include "base/log.h"
#include "cli/options/web_options.h"
#include "cli/runtime/receiver_page.h"
#include "http/server.h"
#include "web/look.h"
#include "web/site.h"
#include "web/watch.h"

namespace weir::cli {

/// The page of `pgweir serve`: that of its archive, whose receiver, if one runs, and relays are
/// queried over their sockets, with /healthz and /readyz of this process. Threads of its own.
class ServePage {
 public:
  /// `view` is called by any thread, and outlives it, like the log. Throws Error{usage} for an
  /// invalid token file, Error{retry} if it cannot listen.
  ServePage(const WebRequest& request, const std::string& directory,
            std::function<archive::Relay()> view, PageMetrics metrics, Log& log);
  ServePage(const ServePage&) = delete;
  ServePage& operator=(const ServePage&) = delete;

  /// Rereads the token file. An invalid one is logged, and the old token stays in effect. Any
  /// thread.
  void reload();

 private:
  [[nodiscard]] web::Site::Sources sources(PageMetrics metrics);

  const WebRequest request_;
  Log& log_;
  const std::string directory_;
  const std::function<archive::Relay()> view_;
  /// The check is reading files of backups; shared with its thread.
  const std::shared_ptr<std::atomic<bool>> among_backups_ =
      std::make_shared<std::atomic<bool>>(false);
  web::Watch<web::Look> watch_;
  web::Site site_;
  std::unique_ptr<http::Server> server_;
};

/// What the page shows of the directory, as last seen; nullopt: nothing is known yet.
[[nodiscard]] std::optional<web::Facts> serve_facts(const web::Watch<web::Look>::Seen& seen,
                                                    const std::string& directory,
                                                    const status::Limits& limits);
/// Does it serve all WAL of the archive? 200 or 503, with the reason.
[[nodiscard]] http::Answer relay_readiness(const archive::Relay& relay, bool directory_hangs);

}  // namespace weir::cli
