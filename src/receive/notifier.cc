#include "receive/notifier.h"

#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "base/backoff.h"
#include "base/units.h"
#include "net/wake.h"
#include "pq/conninfo.h"
#include "pq/notifications.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::system_clock;

constexpr auto kSendTimeout = 10s;
constexpr auto kConnectTimeout = 10s;
/// Idle time after which the connection is closed: a server that shuts down in smart mode waits
/// until all sessions have ended by themselves (P13).
constexpr auto kKeepIdle = 5s;
/// Keeps the payload below PostgreSQL's 8000 bytes, even if each byte must be escaped.
constexpr std::size_t kMostText = 1000;
constexpr std::size_t kMostPayload = 7999;

/// At most `most` bytes, cut between characters.
std::string shortened(std::string text, std::size_t most = kMostText) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  text.resize(most);
  return text + "…";
}

std::string dump(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string event_payload(const ArchiveEvent& event, const std::string& archive,
                          std::uint64_t dropped) {
  Json object;
  object["v"] = 1;
  object["event"] = event.event;
  object["time"] = format_iso_time(event.time);
  object["archive"] = shortened(archive);
  if (event.timeline) object["timeline"] = *event.timeline;
  if (event.lsn) object["lsn"] = event.lsn->to_string();
  if (event.segment) object["segment"] = *event.segment;
  if (event.file) object["file"] = *event.file;
  if (event.asked) object["asked"] = *event.asked;
  if (event.loss) {
    object["id"] = event.loss->id();
    object["to"] = event.loss->end.to_string();
    object["next_timeline"] = event.loss->next_timeline;
    object["segments"] = {event.loss->first_segment().to_string(),
                          event.loss->last_segment().to_string()};
    if (event.loss->commits) object["commits"] = *event.loss->commits;
  }
  if (event.candidate) {
    object["host"] = shortened(event.candidate->host);
    if (!event.candidate->covered()) object["reason"] = shortened(event.candidate->reason);
  }
  if (event.error) {
    object["kind"] = to_string(event.error->kind());
    object["message"] = shortened(event.error->what());
    if (!event.error->hint().empty()) object["hint"] = shortened(event.error->hint());
  }
  if (dropped > 0) object["dropped"] = dropped;
  auto text = dump(object);
  if (text.size() > kMostPayload && object.contains("hint")) {
    object.erase("hint");  // text that had to be escaped byte by byte
    text = dump(object);
  }
  if (text.size() > kMostPayload) {
    object["archive"] = "";
    text = dump(object);
  }
  return text;
}

Notifier::Notifier(Options options, Log& log)
    : options_(std::move(options)), log_(log), thread_([this] { work(); }) {}

Notifier::~Notifier() {
  {
    std::unique_lock lock(mutex_);
    ending_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, options_.patience_at_end, [this] { return done_; });
  }
  give_up_.raise();
  thread_.join();
  if (const auto unsent = dropped_ + queue_.size(); unsent > 0)
    log_.warning("{} notification(s) to channel \"{}\" could not be sent", unsent,
                 options_.channel);
}

void Notifier::on_event(const Event& happened) {
  const auto time = Clock::now();
  on(
      happened,
      [&](const event::Streaming& streaming) {
        {
          const std::lock_guard lock(mutex_);
          told_trouble_.reset();
        }
        notify({.event = "streaming",
                .time = time,
                .timeline = streaming.timeline,
                .lsn = streaming.start});
      },
      [&](const event::SegmentFinished& finished) {
        notify({.event = "segment_finished",
                .time = time,
                .timeline = finished.segment.timeline(),
                .lsn = finished.end,
                .segment = finished.segment.to_string(),
                .file = finished.segment.to_string()});
      },
      [&](const event::SegmentCompressed& compressed) {
        notify({.event = "segment_compressed",
                .time = time,
                .timeline = compressed.segment.timeline(),
                .segment = compressed.segment.to_string(),
                .file = compressed.file});
      },
      [&](const event::TimelineSwitched& switched) {
        notify({.event = "timeline_switched",
                .time = time,
                .timeline = switched.next,
                .lsn = switched.switchpoint});
      },
      [&](const event::CandidateLooked& looked) {
        notify({.event = looked.candidate.covered() ? "candidate_covered" : "candidate_not_covered",
                .time = time,
                .candidate = looked.candidate});
      },
      [&](const event::Stopped& stopped) {
        notify({.event = "stopped",
                .time = time,
                .timeline = stopped.timeline,
                .lsn = stopped.reached,
                .asked = stopped.by_signal});
      },
      [&](const event::LossRecorded& recorded) {
        const auto& loss = recorded.loss;
        notify({.event = std::string(loss.words().name),
                .time = time,
                .timeline = loss.timeline,
                .lsn = loss.begin,
                .loss = loss});
      },
      [&](const event::DiskFull& disk) {
        if (disk.full)
          notify_of_trouble(Error(ErrorKind::disk_full, "no space left for the archive"));
      },
      [&](const event::FeedsDiffer& differ) {
        notify({.event = "difference",
                .time = time,
                .timeline = differ.difference.timeline,
                .lsn = differ.difference.at,
                .error = Error(ErrorKind::conflict, differ.difference.to_string())});
      },
      [&](const event::Stored& stored) {
        notify({.event = "stored", .time = time, .file = stored.file});
      },
      [&](const event::StoreTrouble& trouble) {
        notify({.event = "store_trouble", .time = time, .error = trouble.error});
      },
      [&](const event::StoreWorks&) { notify({.event = "store_works", .time = time}); },
      [&](const event::Trouble& trouble) { notify_of_trouble(trouble.error); });
}

void Notifier::notify_of_trouble(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (told_trouble_ == error.what()) return;
    told_trouble_ = error.what();
  }
  notify({.event = "trouble", .time = Clock::now(), .error = error});
}

void Notifier::notify(ArchiveEvent event) {
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= options_.most_waiting) {
      queue_.pop_front();
      ++dropped_;
    }
    queue_.push_back(std::move(event));
  }
  changed_.notify_all();
}

void Notifier::work() {
  Backoff backoff(options_.first_pause, options_.longest_pause, std::random_device()());
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto wanted = [this] { return ending_ || !queue_.empty(); };
    if (connection_ && !changed_.wait_for(lock, kKeepIdle, wanted)) {
      lock.unlock();
      connection_.reset();
      lock.lock();
    }
    changed_.wait(lock, wanted);
    if (queue_.empty()) break;
    try {
      send_all(lock);
      backoff.reset();
      standbys_ = 0;
    } catch (const net::Interrupted&) {
      if (!lock.owns_lock()) lock.lock();
      break;
    } catch (const Error& error) {
      if (!lock.owns_lock()) lock.lock();
      const bool another = leads_to_another_host(error);
      connection_.reset();
      if (another) continue;
      trouble(error);
      if (ending_ || !pause(lock, backoff.next())) break;
    }
  }
  done_ = true;
  changed_.notify_all();
}

/// Empties the queue. Called with the lock held, and returns with it; after an exception it may or
/// may not be held.
void Notifier::send_all(std::unique_lock<std::mutex>& lock) {
  while (!queue_.empty()) {
    if (!connection_) {
      lock.unlock();
      connect();
      lock.lock();
    }
    if (queue_.empty()) return;
    const auto dropped = dropped_;
    const auto payload = event_payload(queue_.front(), options_.archive, dropped);
    // Removed now: while it is sent the queue may overflow, which drops from the front.
    auto event = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    try {
      pq::notify(*connection_, options_.channel, payload, kSendTimeout);
    } catch (...) {
      // It may have been sent anyway: delivery is guaranteed at least once.
      lock.lock();
      queue_.push_front(std::move(event));
      throw;
    }
    lock.lock();
    dropped_ -= dropped;
    if (std::exchange(told_failure_, false) || dropped > 0)
      log_.info("notifications to channel \"{}\" are delivered again; {} of them were dropped",
                options_.channel, dropped);
  }
}

void Notifier::connect() {
  connection_.emplace(pq::Connection::open({.conninfo = options_.conninfo,
                                            .replication = pq::Replication::none,
                                            .fallback_application_name = "pgweir notify",
                                            .timeout = kConnectTimeout,
                                            .first_host = first_host_},
                                           give_up_));
  // A notification is a small transaction. It must not wait for synchronous standbys, which may
  // include this archive.
  connection_->execute("SET synchronous_commit = off", kSendTimeout);
  if (!pq::expand_conninfo(options_.conninfo).contains("client_encoding") &&
      connection_->parameter("server_encoding") != "SQL_ASCII")
    connection_->execute("SET client_encoding = 'UTF8'", kSendTimeout);
}

/// If there are several hosts, the primary is used; which one that is changes in a failover.
/// Returns true if the next one should be used at once.
bool Notifier::leads_to_another_host(const Error& error) {
  constexpr std::string_view kStandby = "25006";
  if (!connection_ || error.sqlstate() != kStandby) return false;
  first_host_ = connection_->host_index() + 1;
  if (++standbys_ < connection_->host_count()) return true;
  standbys_ = 0;
  return false;
}

/// Returns false if it ends meanwhile.
bool Notifier::pause(std::unique_lock<std::mutex>& lock, std::chrono::milliseconds time) {
  return !changed_.wait_for(lock, time, [this] { return ending_; });
}

void Notifier::trouble(const Error& error) {
  if (std::exchange(told_failure_, true)) return;
  log_.warning("notifications cannot be sent: {}; archiving is not affected, trying again",
               error.what());
  if (!error.hint().empty()) log_.info("hint: {}", error.hint());
}

}  // namespace weir::receive
