#include "relay/archive_watch.h"

#include <chrono>
#include <utility>

#include "net/wait.h"

namespace weir::relay {

namespace {

using namespace std::chrono_literals;

constexpr auto kInterval = 500ms;

}  // namespace

ArchiveWatch::ArchiveWatch(io::Directory& archive, const Cluster& cluster,
                           archive::AskDurableEnd ask, FindWriter find_writer,
                           NamesChanged names_changed, net::Wake& news, Hub& hub, Log& log,
                           std::function<void(const Error&)> durability_lost)
    : look_(archive, cluster, std::move(ask), std::move(find_writer), std::move(names_changed), hub,
            log, machine_threads(), std::move(durability_lost)),
      news_(news),
      thread_(machine_threads().start("watch", [this] { work(); })) {}

ArchiveWatch::~ArchiveWatch() {
  stop_.raise();
  thread_->join();
}

void ArchiveWatch::work() {
  for (;;) {
    news_.clear();  // before the state that it signals is read
    look_.look();
    try {
      net::wait_for_socket(news_.fd(), true, false, &stop_,
                           std::chrono::steady_clock::now() + kInterval);
    } catch (const net::Interrupted&) {
      return;
    }
  }
}

}  // namespace weir::relay
