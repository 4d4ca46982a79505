#include "web/history.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace weir::web {

namespace {

using Json = nlohmann::json;
using Span = History::Span;

constexpr int kVersion = 1;

std::int64_t second_of(SystemTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

/// The span of a time. If the clock was set back a little, the newest span continues; a span from
/// the far future would prevent all later ones, so it is dropped.
Span& span_at(std::deque<Span>& spans, SystemTime now, std::chrono::seconds width,
              std::size_t most) {
  const auto second = second_of(now);
  const auto begin = second - second % width.count();
  while (!spans.empty() && spans.back().begin > second + width.count()) spans.pop_back();
  if (spans.empty() || spans.back().begin < begin) spans.push_back(Span{.begin = begin});
  const auto oldest = spans.back().begin - static_cast<std::int64_t>(most - 1) * width.count();
  while (spans.front().begin < oldest) spans.pop_front();
  return spans.back();
}

Json span_json(const Span& span) {
  Json json = {span.begin, span.samples, span.streaming, span.holes, span.bytes,
               span.lag,   span.p50_ms,  span.p99_ms,    span.free};
  if (span.server_end > 0) json.push_back(span.server_end);
  return json;
}

/// Throws Json::exception if it is not a span.
Span span_of(const Json& json) {
  return {.begin = json.at(0),
          .samples = json.at(1),
          .streaming = json.at(2),
          .holes = json.at(3),
          .bytes = json.at(4),
          .lag = json.at(5),
          .p50_ms = json.at(6),
          .p99_ms = json.at(7),
          // Absent in files of earlier versions.
          .free = json.size() > 8 ? json.at(8).get<std::uint64_t>() : 0,
          .server_end = json.size() > 9 ? json.at(9).get<std::uint64_t>() : 0};
}

}  // namespace

void History::add(const Sample& sample, SystemTime now) {
  const auto bytes = sample.archived > archived_ ? sample.archived - archived_ : 0;
  archived_ = sample.archived;
  for (auto* span :
       {&span_at(shorts_, now, kShort, kShorts), &span_at(hours_, now, kHour, kHours)}) {
    ++span->samples;
    if (sample.streaming) ++span->streaming;
    span->bytes += bytes;
    span->lag = std::max(span->lag, sample.lag.value_or(0));
    span->p50_ms = std::max(span->p50_ms, sample.p50_ms.value_or(0));
    span->p99_ms = std::max(span->p99_ms, sample.p99_ms.value_or(0));
  }
  if (sample.server_end) hours_.back().server_end = *sample.server_end;
}

void History::happened(std::string text, bool trouble, SystemTime now) {
  if (text.size() > kLongestText) text.resize(kLongestText);
  const auto second = second_of(now);
  const auto known = std::find_if(events_.begin(), events_.end(), [&](const auto& event) {
    return event.text == text && second - event.last < kHour.count();
  });
  Happened event{.first = second, .last = second, .trouble = trouble, .text = std::move(text)};
  if (known != events_.end()) {
    event.first = known->first;
    event.times = known->times + 1;
    events_.erase(known);
  }
  events_.push_back(std::move(event));
  if (events_.size() > kEvents) events_.pop_front();
}

void History::cluster(std::string_view name) {
  if (!name.empty()) cluster_name_ = name.substr(0, kLongestText);
}

void History::hole_found(SystemTime now) {
  ++span_at(shorts_, now, kShort, kShorts).holes;
  ++span_at(hours_, now, kHour, kHours).holes;
}

void History::lies_on(std::uint64_t system_id) {
  const auto before = std::exchange(system_id_, system_id);
  if (!before || before == system_id) return;
  for (auto* const spans : {&shorts_, &hours_})
    for (auto& span : *spans) span.free = 0;
}

void History::space(std::uint64_t free, SystemTime now) {
  span_at(shorts_, now, kShort, kShorts).free = free;
  span_at(hours_, now, kHour, kHours).free = free;
}

std::optional<std::chrono::seconds> full_in(const History& history, std::uint64_t free,
                                            SystemTime now) {
  constexpr std::int64_t kDay = 24 * 3600;
  constexpr double kLongest = 365.0 * 24 * 3600;
  const auto second = second_of(now);
  for (const auto& span : history.hours()) {
    const auto end = span.begin + History::kHour.count();
    if (span.free == 0 || end < second - kDay) continue;
    // The oldest of the last day.
    const auto passed = second - end;
    if (passed < History::kHour.count() || span.free <= free) return std::nullopt;
    const auto seconds = static_cast<double>(free) / static_cast<double>(span.free - free) *
                         static_cast<double>(passed);
    if (seconds > kLongest) return std::nullopt;
    return std::chrono::seconds(static_cast<std::int64_t>(seconds));
  }
  return std::nullopt;
}

std::string History::to_text() const {
  Json json{{"version", kVersion},
            {"shorts", Json::array()},
            {"hours", Json::array()},
            {"events", Json::array()}};
  for (const auto& span : shorts_) json["shorts"].push_back(span_json(span));
  for (const auto& span : hours_) json["hours"].push_back(span_json(span));
  for (const auto& event : events_)
    json["events"].push_back({event.first, event.last, event.times, event.trouble, event.text});
  if (!cluster_name_.empty()) json["cluster_name"] = cluster_name_;
  if (system_id_) json["file_system"] = *system_id_;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<History> History::parse(std::string_view text) {
  try {
    const auto json = Json::parse(text);
    if (json.at("version") != kVersion) return std::nullopt;
    History history;
    const auto read = [](const Json& from, std::deque<Span>& to, std::size_t most) {
      for (const auto& each : from) to.push_back(span_of(each));
      return to.size() <= most && std::is_sorted(to.begin(), to.end(), [](auto& a, auto& b) {
               return a.begin < b.begin;
             });
    };
    if (!read(json.at("shorts"), history.shorts_, kShorts) ||
        !read(json.at("hours"), history.hours_, kHours))
      return std::nullopt;
    for (const auto& each : json.at("events"))
      history.events_.push_back({.first = each.at(0),
                                 .last = each.at(1),
                                 .times = each.at(2),
                                 .trouble = each.at(3),
                                 .text = each.at(4)});
    if (history.events_.size() > kEvents) return std::nullopt;
    history.cluster(json.value("cluster_name", ""));
    if (json.contains("file_system")) history.system_id_ = json["file_system"].get<std::uint64_t>();
    return history;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

}  // namespace weir::web
