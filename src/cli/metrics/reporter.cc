// Metrics are in a module (`src/metrics/module`, `libpgweir-metrics.so`) behind a small C
// interface: linked with prometheus-cpp, the program would load five more libraries at each start,
// and `restore` starts once for each segment. Metrics and systemd notifications are read from the
// `StatusBoard`, by their own threads, so archiving is not affected; without these options there is
// no such thread. pgweir sends systemd's datagrams itself, since libsystemd's sd_notify() blocks if
// they are not read. The guardian, which never touches the disk (P8), feeds the watchdog.

#include "cli/metrics/reporter.h"

#include <utility>

#include "base/error.h"

namespace weir::cli {

Reporter::Reporter(const MetricsOptions& options, Collect collect, Log& log)
    : options_(options), collect_(std::move(collect)), log_(log) {
  if (options_.listen) {
    server_ = metrics::serve(*options_.listen, [this] { return collect_(true); });
    log_.info("metrics at http://{}/metrics", *options_.listen);
  }
  if (!options_.file) return;
  static_cast<void>(metrics::to_text({}));  // without the module it would always fail
  auto& threads = machine_threads();
  file_.emplace(threads, "metrics", threads.now(), [this, &threads] {
    write(true);
    return threads.now() + options_.interval;
  });
}

Reporter::~Reporter() {
  if (file_) {
    file_.reset();
    write(false);
  }
  server_.reset();
}

void Reporter::write(bool up) {
  try {
    metrics::write_file(*options_.file, collect_(up));
    if (std::exchange(failed_, false)) log_.info("the metrics can be written again");
  } catch (const Error& error) {
    if (!std::exchange(failed_, true))
      log_.warning("could not write the metrics: {}; nothing else is affected, retrying. {}",
                   error.what(), error.hint());
  }
}

}  // namespace weir::cli
