#include "receive/status_board.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/units.h"

namespace weir::receive {

StatusBoard::StatusBoard() {
  content_.started = std::chrono::system_clock::now();
  content_.state_since = content_.started;
  heard_ = std::chrono::steady_clock::now();
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
}

void StatusBoard::update(const std::function<void(Content&)>& change) {
  const std::lock_guard lock(mutex_);
  change(content_);
}

void StatusBoard::set_live(std::function<StreamSnapshot()> live) {
  const std::lock_guard lock(live_mutex_);
  if (live_ && !live) heard_ = live_().last_message;
  live_ = std::move(live);
}

StatusBoard::Content StatusBoard::read() const {
  const std::lock_guard lock(mutex_);
  return content_;
}

std::string StatusBoard::to_json() const {
  const auto content = read();
  std::optional<StreamSnapshot> stream;
  Time heard;
  {
    const std::lock_guard lock(live_mutex_);
    if (live_) stream = live_();
    heard = stream ? stream->last_message : heard_;
  }
  nlohmann::json json;
  json["pid"] = ::getpid();
  json["version"] = PGWEIR_VERSION;
  json["state"] = content.disk_full ? "disk full" : content.state;
  json["state_since"] = format_time(content.state_since);
  json["started"] = format_time(content.started);
  json["server"] = content.server;
  const auto silence = std::chrono::steady_clock::now() - heard;
  json["silence_ms"] = std::max(
      std::int64_t{0}, std::chrono::duration_cast<std::chrono::milliseconds>(silence).count());
  if (stream) {
    json["timeline"] = stream->timeline;
    json["write_lsn"] = stream->write.to_string();
    json["flush_lsn"] = stream->flush.to_string();
    json["server_lsn"] = stream->server_end.to_string();
    json["lag_bytes"] = stream->server_end > stream->flush ? stream->server_end - stream->flush : 0;
    json["last_message"] =
        format_time(std::chrono::system_clock::now() -
                    std::chrono::duration_cast<std::chrono::system_clock::duration>(silence));
  }
  if (content.last_error) {
    json["last_error"] = *content.last_error;
    json["last_error_time"] = format_time(content.last_error_time);
  }
  json["holes"] = nlohmann::json::array();
  for (const auto& hole : content.holes)
    json["holes"].push_back({{"from", hole.begin.to_string()}, {"to", hole.end.to_string()}});
  if (content.slot) json["slot"] = *content.slot;
  if (content.slot_warning) json["slot_warning"] = *content.slot_warning;
  json["segments_to_compress"] = content.to_compress;
  return json.dump();
}

}  // namespace weir::receive
