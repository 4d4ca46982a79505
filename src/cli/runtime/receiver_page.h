#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "cli/metrics/reporter.h"
#include "cli/options/web_options.h"
#include "http/server.h"
#include "metrics/family.h"
#include "receive/feed.h"
#include "receive/status_board.h"
#include "store/open_store.h"
#include "web/look.h"
#include "web/recorder.h"
#include "web/site.h"
#include "web/watch.h"

namespace weir::cli {

/// The metrics that a page's server exports, too.
struct PageMetrics {
  std::function<std::vector<metrics::Family>()> collect;  ///< empty: none are served here
  bool open = false;                                      ///< without token and name
};
void add_metrics(web::Site::Sources& sources, PageMetrics metrics);
/// True if --metrics-listen is the page's port; then nothing else listens there.
[[nodiscard]] bool take_page_port(MetricsOptions& metrics, const WebRequest& request);

/// The page of a receiver, served by the receiver's own process, with threads of its own. The
/// objects it refers to must outlive it.
class ReceiverPage {
 public:
  /// Throws Error{usage} for a token file that will not do, Error{retry} if it cannot listen.
  ReceiverPage(const WebRequest& request, const std::string& directory,
               const std::optional<store::StoreOptions>& store, receive::Feed& feed,
               const receive::StatusBoard& board, PageMetrics metrics, Log& log);
  ReceiverPage(const ReceiverPage&) = delete;
  ReceiverPage& operator=(const ReceiverPage&) = delete;

  /// Rereads the token file. An error is logged, and the old token remains in use. Any thread.
  void reload();

 private:
  [[nodiscard]] std::optional<web::Facts> facts();
  [[nodiscard]] web::Site::Sources sources(const WebRequest& request, PageMetrics metrics);

  const WebRequest request_;
  Log& log_;
  const receive::StatusBoard& board_;
  const std::string directory_;
  web::Recorder recorder_;
  /// The check is reading files of backups; shared with its thread.
  const std::shared_ptr<std::atomic<bool>> among_backups_ =
      std::make_shared<std::atomic<bool>>(false);
  web::Watch<web::Look> watch_;
  const receive::Feed::Subscription losses_;  ///< a new one is shown at once
  web::Site site_;
  std::unique_ptr<http::Server> server_;
};

/// Serves a site there. Throws Error{retry} if the address is not available.
[[nodiscard]] std::unique_ptr<http::Server> serve_site(const ListenAddress& address,
                                                       http::Server::Handler handler);
/// The access rules, according to the options.
[[nodiscard]] web::Gate gate_of(const WebRequest& request);
/// Rereads a token file, for `use`. An error is logged, and `use` is not called.
void read_anew(const WebRequest& request, const std::function<void(const WebRequest&)>& use,
               Log& log);

}  // namespace weir::cli
