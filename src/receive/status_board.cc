#include "receive/status_board.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/units.h"
#include "receive/slow_syncs.h"

namespace weir::receive {

namespace {

nlohmann::json candidate_json(const Candidate& candidate) {
  nlohmann::json json{{"host", candidate.host},
                      {"covered", candidate.covered()},
                      {"cover", to_string(candidate.cover)},
                      {"reason", candidate.reason}};
  const bool known = candidate.answered != std::chrono::system_clock::time_point{};
  const auto or_null = [&](bool there, const auto& value) {
    return there ? nlohmann::json(value) : nlohmann::json(nullptr);
  };
  json["answered"] = or_null(known, format_time(candidate.answered));
  json["timeline"] = or_null(known, candidate.timeline);
  json["server_lsn"] = or_null(known, candidate.end.to_string());
  json["slot_lsn"] =
      or_null(candidate.slot_lsn.has_value(), candidate.slot_lsn.value_or(wal::Lsn()).to_string());
  json["slot_lag_bytes"] = candidate.slot_lsn && candidate.end >= *candidate.slot_lsn
                               ? nlohmann::json(candidate.end - *candidate.slot_lsn)
                               : nlohmann::json(nullptr);
  if (candidate.silent_since) {
    json["silent_since"] = format_time(*candidate.silent_since);
    json["was_covered"] = candidate.was_covered;
  }
  return json;
}

nlohmann::json comparison_json(const StatusBoard::Content::Comparison& comparison) {
  nlohmann::json json = {
      {"with", comparison.with},
      {"timeline", comparison.timeline},
      {"lsn", comparison.position.valid() ? nlohmann::json(comparison.position.to_string())
                                          : nlohmann::json(nullptr)},
      {"bytes", comparison.bytes},
      {"skipped_bytes", comparison.skipped_bytes},
      {"differences", comparison.differences}};
  if (!comparison.problem.empty()) json["problem"] = comparison.problem;
  if (comparison.difference) {
    json["difference"] = *comparison.difference;
    json["difference_time"] = format_time(comparison.difference_time);
  }
  return json;
}

nlohmann::json certificates_json(const StatusBoard::Content::Certificates& certificates) {
  auto json = nlohmann::json::object();
  const auto add = [&](const std::string& name, const auto& expires) {
    if (!expires) return;
    json[name] = format_time(*expires);
    json[name + "_in_seconds"] =
        std::chrono::floor<std::chrono::seconds>(*expires - std::chrono::system_clock::now())
            .count();
  };
  if (!certificates.client.empty()) json["client"] = certificates.client;
  add("client_expires", certificates.client_expires);
  add("server_expires", certificates.server_expires);
  if (!certificates.problem.empty()) json["problem"] = certificates.problem;
  return json;
}

}  // namespace

StatusBoard::StatusBoard(Feed* feed) {
  content_.started = std::chrono::system_clock::now();
  content_.state_since = content_.started;
  heard_ = std::chrono::steady_clock::now();
  if (feed != nullptr)
    subscription_ = feed->subscribe([this](const Event& happened) { on_event(happened); });
}

void StatusBoard::on_event(const Event& happened) {
  on(
      happened, [this](const event::StateChanged& change) { set_state(change.state); },
      [this](const event::ServerChanged& server) {
        update([&](Content& content) { content.server = server.name; });
      },
      [this](const event::Progress& progress) {
        tick(progress.snapshot, std::chrono::steady_clock::now());
      },
      [this](const event::SyncDone& sync) {
        const std::lock_guard lock(mutex_);
        syncs_.add(sync.duration, std::chrono::steady_clock::now());
        if (sync.duration > kSlowSync) ++content_.slow_syncs;
      },
      [this](const event::SegmentFinished&) {
        update([](Content& content) { ++content.segments_finished; });
      },
      [this](const event::NotCompressed& failed) { set_error(failed.error.what()); },
      [this](const event::DiskFull& disk) { set_disk_full(disk.full); },
      [this](const event::Trouble& trouble) {
        set_error(trouble.error.what());
        if (trouble.error.kind() == ErrorKind::disk_full) set_disk_full(true);
      });
}

void StatusBoard::set_disk_full(bool full) {
  update([full](Content& content) {
    if (full && !content.disk_full) content.disk_full_since = std::chrono::system_clock::now();
    content.disk_full = full;
  });
}

void StatusBoard::set_state(const std::string& state) {
  const std::lock_guard lock(mutex_);
  if (content_.state == state) return;
  content_.state = state;
  content_.state_since = std::chrono::system_clock::now();
}

void StatusBoard::set_error(const std::string& text) {
  const std::lock_guard lock(mutex_);
  content_.last_error = text;
  content_.last_error_time = std::chrono::system_clock::now();
  ++content_.errors;
}

void StatusBoard::set_losses(std::vector<archive::Loss> losses) {
  const std::lock_guard lock(mutex_);
  losses_ = std::move(losses);
  gather_losses();
}

void StatusBoard::set_watched_losses(std::vector<archive::Loss> losses,
                                     std::set<std::string> closed) {
  const std::lock_guard lock(mutex_);
  watched_losses_ = std::move(losses);
  closed_losses_ = std::move(closed);
  gather_losses();
}

/// Of a loss that both tell, the watch knows the newest.
void StatusBoard::gather_losses() {
  auto all = watched_losses_;
  for (const auto& loss : losses_)
    if (!closed_losses_.contains(loss.id()) &&
        std::none_of(watched_losses_.begin(), watched_losses_.end(),
                     [&](const auto& watched) { return watched.id() == loss.id(); }))
      all.push_back(loss);
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.begin < b.begin; });
  for (auto& loss : all)
    for (const auto& known : content_.losses)
      if (!loss.acknowledged && known.id() == loss.id() && known.end == loss.end)
        loss.acknowledged = known.acknowledged;
  content_.losses = std::move(all);
}

void StatusBoard::update(const std::function<void(Content&)>& change) {
  const std::lock_guard lock(mutex_);
  change(content_);
}

void StatusBoard::set_live(std::function<StreamSnapshot()> live) {
  // Both locks: what a stream that ends has archived is counted once at any moment.
  const std::lock_guard live_lock(live_mutex_);
  std::optional<StreamSnapshot> ended;
  if (live_ && !live) ended = live_();
  if (ended) heard_ = ended->last_message;
  live_ = std::move(live);
  const std::lock_guard lock(mutex_);
  content_.ticks.clear();
  if (live_) ++content_.streams;
  if (ended) {
    content_.archived_bytes += ended->flush - ended->start;
    content_.last_stream = ended;
  }
}

void StatusBoard::set_serving(AskServing ask) {
  const std::lock_guard lock(live_mutex_);
  ask_serving_ = std::move(ask);
}

void StatusBoard::set_store(AskStore ask) {
  const std::lock_guard lock(live_mutex_);
  ask_store_ = std::move(ask);
}

void StatusBoard::tick(const StreamSnapshot& snapshot, Time now) {
  constexpr std::chrono::seconds kApart(30);
  update([&](Content& content) {
    if (!content.ticks.empty() && now - content.ticks.back().first < kApart) return;
    if (content.ticks.size() == 2) content.ticks.erase(content.ticks.begin());
    content.ticks.emplace_back(now, snapshot.write);
  });
}

StatusBoard::Content StatusBoard::read() const {
  const std::lock_guard lock(mutex_);
  return content_;
}

StatusBoard::View StatusBoard::view() const {
  View view;
  const std::lock_guard live_lock(live_mutex_);
  if (live_) view.stream = live_();
  if (ask_serving_) view.serving = ask_serving_();
  if (ask_store_) view.store = ask_store_();
  const auto heard = view.stream ? view.stream->last_message : heard_;
  view.silence =
      std::max(std::chrono::milliseconds(0), std::chrono::duration_cast<std::chrono::milliseconds>(
                                                 std::chrono::steady_clock::now() - heard));
  const std::lock_guard lock(mutex_);
  view.content = content_;
  view.syncs = syncs_.summary(std::chrono::steady_clock::now());
  return view;
}

std::uint64_t StatusBoard::View::archived_bytes() const {
  return content.archived_bytes + (stream ? stream->flush - stream->start : 0);
}

std::optional<std::uint64_t> StatusBoard::View::bytes_per_second(Time now) const {
  // From the tick before the last one: just behind a tick there would be little to go by.
  if (!stream || content.ticks.empty()) return std::nullopt;
  const auto& [since, from] = content.ticks.front();
  const std::chrono::duration<double> seconds = now - since;
  if (seconds.count() < 1 || stream->write < from) return std::nullopt;
  return std::llround(static_cast<double>(stream->write - from) / seconds.count());
}

std::string StatusBoard::to_json() const {
  const auto view = this->view();
  const auto& [content, stream, silence, syncs, serving, store] = view;
  nlohmann::json json;
  json["pid"] = ::getpid();
  json["version"] = PGWEIR_VERSION;
  json["state"] = content.disk_full ? "disk full" : content.state;
  json["state_since"] = format_time(content.shown_state_since());
  json["started"] = format_time(content.started);
  json["server"] = content.server;
  if (!content.hosts.empty()) {
    json["hosts"] = nlohmann::json::array();
    for (const auto& host : content.hosts)
      json["hosts"].push_back({{"host", host.name},
                               {"taken", host.taken},
                               {"standing", to_string(host.standing)},
                               {"why", host.why}});
  }
  json["silence_ms"] = silence.count();
  if (stream) {
    json["timeline"] = stream->timeline;
    json["write_lsn"] = stream->write.to_string();
    json["flush_lsn"] = stream->flush.to_string();
    if (stream->confirmed) {
      json["confirm"] = "stored";
      json["confirmed_lsn"] = stream->confirmed->to_string();
    }
    json["server_lsn"] = stream->server_end.to_string();
    json["lag_bytes"] = stream->server_end > stream->flush ? stream->server_end - stream->flush : 0;
    json["last_message"] = format_time(std::chrono::system_clock::now() - silence);
  }
  if (const auto rate = view.bytes_per_second(std::chrono::steady_clock::now()))
    json["bytes_per_second"] = *rate;
  json["archived_bytes"] = view.archived_bytes();
  json["streams"] = content.streams;
  json["errors"] = content.errors;
  json["segments_finished"] = content.segments_finished;
  if (syncs) {
    const auto ms = [](std::chrono::nanoseconds time) {
      return std::chrono::duration<double, std::milli>(
                 std::chrono::round<std::chrono::microseconds>(time))
          .count();
    };
    json["syncs"] = {{"seconds", SyncTimes::kWindow.count()},
                     {"count", syncs->count},
                     {"p50_ms", ms(syncs->p50)},
                     {"p99_ms", ms(syncs->p99)},
                     {"worst_ms", ms(syncs->worst)}};
  }
  json["slow_syncs"] = content.slow_syncs;
  if (content.last_error) {
    json["last_error"] = *content.last_error;
    json["last_error_time"] = format_time(content.last_error_time);
  }
  json["holes"] = nlohmann::json::array();
  json["lost_branches"] = nlohmann::json::array();
  for (const auto& loss : content.losses) {
    nlohmann::json one{{"id", loss.id()},
                       {"timeline", loss.timeline},
                       {"from", loss.begin.to_string()},
                       {"to", loss.end.to_string()},
                       {"acknowledged", loss.acknowledged.has_value()}};
    if (loss.commits) one["commits"] = *loss.commits;
    const bool hole = loss.kind == archive::Loss::Kind::hole;
    json[hole ? "holes" : "lost_branches"].push_back(std::move(one));
  }
  if (content.slot) json["slot"] = *content.slot;
  if (content.slot_view && !content.slot_view->wal_status.empty())
    json["slot_wal_status"] = content.slot_view->wal_status;
  if (content.slot_view && content.slot_view->safe_wal_size)
    json["slot_safe_wal_size"] = *content.slot_view->safe_wal_size;
  if (content.slot_view && content.slot_view->retained)
    json["slot_retained_bytes"] = *content.slot_view->retained;
  if (content.slot_warning) json["slot_warning"] = *content.slot_warning;
  if (!content.candidates.empty()) {
    json["candidates"] = nlohmann::json::array();
    for (const auto& candidate : content.candidates)
      json["candidates"].push_back(candidate_json(candidate));
  }
  if (auto certificates = certificates_json(content.certificates); !certificates.empty())
    json["certificates"] = std::move(certificates);
  if (content.comparison) json["comparison"] = comparison_json(*content.comparison);
  json["segments_to_compress"] = content.to_compress;
  if (serving) {
    json["clients"] = nlohmann::json::parse(archive::clients_json(*serving));
    json["listen"] = serving->listens;
    if (serving->certificate)
      json["serve_certificate"] =
          nlohmann::json::parse(archive::certificate_json(*serving->certificate));
  }
  if (store) json["store"] = nlohmann::json::parse(store::store_json(*store));
  return json.dump();
}

}  // namespace weir::receive
