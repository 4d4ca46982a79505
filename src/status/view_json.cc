#include "status/view_json.h"

#include <algorithm>
#include <concepts>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "base/units.h"
#include "wal/pg_time.h"

namespace weir::status {

namespace {

// Each section has one function, members(), which names its members in JSON and serves both
// directions, so a member cannot be written and not be read. It takes the section apart with a
// structured binding: the file does not compile before a new member has its line there, or is
// listed as not written.
//
// What follows from other members (an age, a lag) is derived: written for readers of the JSON, and
// computed again from the view by pgweir.

using Json = nlohmann::json;
using receive::ReceiverView;
using SystemTime = ReceiverView::SystemTime;

/// What a word of a newer version is read as.
template <typename Word>
constexpr Word kUnknown{};
template <>
constexpr receive::Cover kUnknown<receive::Cover> = receive::Cover::no_answer;
template <>
constexpr Level kUnknown<Level> = Level::unknown;

template <typename Value>
constexpr bool kInMilliseconds =
    std::same_as<Value, std::chrono::nanoseconds> || std::same_as<Value, std::chrono::microseconds>;

template <typename Value>
Json told(const Value& value) {
  if constexpr (requires { value.to_string(); })
    return value.to_string();
  else if constexpr (std::is_enum_v<Value>)
    return to_string(value);
  else if constexpr (requires { value.time_since_epoch(); })
    return format_time(value);
  else if constexpr (kInMilliseconds<Value>)  // with microseconds
    return std::chrono::duration<double, std::milli>(
               std::chrono::round<std::chrono::microseconds>(value))
        .count();
  else if constexpr (requires { value.count(); })
    return value.count();
  else
    return value;
}

/// nullopt for another type.
template <typename Value>
std::optional<Value> read(const Json& json) {
  if constexpr (std::same_as<Value, bool>) {
    return json.is_boolean() ? std::optional(json.get<bool>()) : std::nullopt;
  } else if constexpr (std::integral<Value>) {
    if (json.is_number_unsigned() && std::in_range<Value>(json.get<std::uint64_t>()))
      return static_cast<Value>(json.get<std::uint64_t>());
    if (json.is_number_integer() && std::in_range<Value>(json.get<std::int64_t>()))
      return static_cast<Value>(json.get<std::int64_t>());
    return std::nullopt;
  } else if constexpr (kInMilliseconds<Value>) {
    constexpr double kLongest = 1e12;
    if (!json.is_number() || !(json.get<double>() >= 0 && json.get<double>() < kLongest))
      return std::nullopt;
    return std::chrono::round<std::chrono::microseconds>(
        std::chrono::duration<double, std::milli>(json.get<double>()));
  } else if constexpr (std::same_as<Value, std::chrono::milliseconds>) {
    const auto count = read<std::int64_t>(json);
    return count ? std::optional(Value(*count)) : std::nullopt;
  } else if constexpr (std::same_as<Value, std::vector<std::string>>) {
    if (!json.is_array()) return std::nullopt;
    Value all;
    for (const auto& each : json)
      if (each.is_string()) all.push_back(each.get<std::string>());
    return all;
  } else {
    if (!json.is_string()) return std::nullopt;
    const auto text = json.get<std::string>();
    if constexpr (std::same_as<Value, std::string>) {
      return text;
    } else if constexpr (requires { Value::parse(text); }) {
      return Value::parse(text);
    } else if constexpr (std::is_enum_v<Value>) {
      for (int i = 0; !to_string(static_cast<Value>(i)).empty(); ++i)
        if (to_string(static_cast<Value>(i)) == text) return static_cast<Value>(i);
      return kUnknown<Value>;
    } else {
      const auto time = wal::PgTime::parse(text);
      if (!time) return std::nullopt;
      return std::chrono::floor<typename Value::duration>(time->system_time());
    }
  }
}

/// One object of JSON that is written, or read.
class Io {
 public:
  Io(Json& json, SystemTime moment, bool reads) : now(moment), json_(json), reads_(reads) {}

  const SystemTime now;
  [[nodiscard]] bool reads() const { return reads_; }
  /// Something was read, and all that is required.
  [[nodiscard]] bool complete() const { return any_ && !lacks_; }

  template <typename Value>
  void always(const char* key, Value& value) {
    if (!reads_)
      json_[key] = told(value);
    else if (auto known = get<Value>(key))
      value = std::move(*known);
  }
  template <typename Value>
  void required(const char* key, Value& value) {
    always(key, value);
    if (reads_ && !get<Value>(key)) lacks_ = true;
  }
  /// Absent unless `there`.
  template <typename Value>
  void if_any(const char* key, Value& value, bool there) {
    if (reads_ || there) always(key, value);
  }
  void if_any(const char* key, std::string& value) { if_any(key, value, !value.empty()); }
  template <typename Value>
  void if_any(const char* key, std::optional<Value>& value) {
    if (reads_)
      value = get<Value>(key);
    else if (value)
      always(key, *value);
  }
  /// null unless `there`.
  template <typename Value>
  void or_null(const char* key, Value& value, bool there) {
    if (!reads_) json_[key] = nullptr;
    if_any(key, value, there);
  }
  void or_null(const char* key, wal::Lsn& value) { or_null(key, value, value.valid()); }
  template <typename Value>
  void or_null(const char* key, std::optional<Value>& value) {
    if (!reads_) json_[key] = nullptr;
    if_any(key, value);
  }
  /// Whether there is one.
  template <typename Value>
  void whether(const char* key, std::optional<Value>& value) {
    bool there = value.has_value();
    always(key, there);
    if (reads_ && there) value = Value();
  }
  template <typename Value>
  void derived(const char* key, const Value& value) {
    if (!reads_) json_[key] = told(value);
  }
  template <typename Value>
  void derived(const char* key, const std::optional<Value>& value) {
    if (!reads_) json_[key] = value ? told(*value) : Json();
  }

  /// Its members among those of this section; without it `nulls` are.
  template <typename Section>
  void merged(std::optional<Section>& section, std::initializer_list<const char*> nulls = {}) {
    if (reads_) section = Section();
    Io same(json_, now, reads_);
    if (section) members(same, *section);
    if (reads_ && !same.complete()) section.reset();
    if (!reads_ && !section)
      for (const auto* key : nulls) json_[key] = nullptr;
  }
  /// Absent if it is empty.
  template <typename Section>
  void section(const char* key, Section& section) {
    auto inner = reads_ ? at(key) : Json::object();
    if (!inner.is_object()) return;
    Io io(inner, now, reads_);
    members(io, section);
    if (!reads_ && !inner.empty()) json_[key] = std::move(inner);
  }
  template <typename Section>
  void section(const char* key, std::optional<Section>& value) {
    if (reads_ && at(key).is_object()) value = Section();
    if (value) section(key, *value);
  }
  template <typename Section>
  void section_or_null(const char* key, std::optional<Section>& value) {
    if (!reads_) json_[key] = nullptr;
    section(key, value);
  }
  template <typename Section>
  void list(std::string_view key, std::vector<Section>& all) {
    auto array = reads_ ? at(key) : Json::array();
    if (!array.is_array()) {
      lacks_ = true;
      return;
    }
    any_ = true;
    if (reads_)
      for (auto& each : array)
        if (each.is_object()) add(each, all.emplace_back());
    if (reads_) return;
    for (auto& each : all) add(array.emplace_back(Json::object()), each);
    json_[std::string(key)] = std::move(array);
  }
  template <typename Section>
  void list_if_any(const char* key, std::vector<Section>& all) {
    if (reads_ ? json_.contains(key) : !all.empty()) list(key, all);
  }

 private:
  [[nodiscard]] Json at(std::string_view key) const {
    const auto found = json_.find(key);
    return found != json_.end() ? *found : Json();
  }
  template <typename Value>
  std::optional<Value> get(const char* key) {
    auto value = read<Value>(at(key));
    any_ |= value.has_value();
    return value;
  }
  template <typename Section>
  void add(Json& json, Section& section) {
    Io io(json, now, reads_);
    members(io, section);
  }

  Json& json_;
  const bool reads_;
  bool any_ = false;
  bool lacks_ = false;
};

std::chrono::seconds until(SystemTime now, std::chrono::sys_seconds time) {
  return std::chrono::floor<std::chrono::seconds>(time - now);
}

// The sections.

void members(Io& io, receive::HostVerdict& host) {
  auto& [index, name, eligibility, taken, why, alarming] = host;  // not written: index, alarming
  io.always("host", name);
  io.always("taken", taken);
  io.always("eligibility", eligibility);
  io.always("why", why);
}

void members(Io& io, receive::StreamSnapshot& stream) {
  // Not written: start, archived_bytes, server_clock, last_message, heard.
  auto& [timeline, start, write, flush, archived_bytes, confirmed, server_end, server_clock,
         last_message, heard] = stream;
  io.required("timeline", timeline);
  io.required("flush_lsn", flush);
  io.always("write_lsn", write);
  if (confirmed) io.derived("confirm", std::string_view("stored"));
  io.if_any("confirmed_lsn", confirmed);
  io.always("server_lsn", server_end);
}

void members(Io& io, receive::SyncTimes::Summary& syncs) {
  auto& [count, p50, p99, worst] = syncs;
  io.derived("seconds", receive::SyncTimes::kWindow);
  io.always("count", count);
  io.always("p50_ms", p50);
  io.always("p99_ms", p99);
  io.always("worst_ms", worst);
}

void members(Io& io, archive::Loss& loss) {
  // Its list has the kind. Not written: details of its record.
  auto& [kind, timeline, next_timeline, begin, end, system_identifier, segment_size, sound_end,
         found, cause, server, commits, prepared, counted_to, goes_on, recorded, acknowledged,
         complaint, missing] = loss;
  io.derived("id", loss.id());
  io.always("timeline", timeline);
  io.always("from", begin);
  io.always("to", end);
  io.whether("acknowledged", acknowledged);
  io.if_any("commits", commits);
}

void members(Io& io, pq::SlotView& slot) {
  // Not written: exists, active, invalidation_reason.
  auto& [exists, active, wal_status, safe_wal_size, retained, invalidation_reason] = slot;
  io.if_any("slot_wal_status", wal_status);
  io.if_any("slot_safe_wal_size", safe_wal_size);
  io.if_any("slot_retained_bytes", retained);
}

void members(Io& io, receive::Candidate& candidate) {
  auto& [host, index, cover, reason, timeline, end, slot_lsn, answered, silent_since,
         slot_gone_since, was_covered] = candidate;  // not written: index
  const bool known = answered != SystemTime{};
  io.always("host", host);
  io.derived("covered", candidate.covered());
  io.always("cover", cover);
  io.always("reason", reason);
  io.or_null("answered", answered, known);
  io.or_null("timeline", timeline, known);
  io.or_null("server_lsn", end, known);
  io.or_null("slot_lsn", slot_lsn);
  io.derived("slot_lag_bytes",
             slot_lsn && end >= *slot_lsn ? std::optional(end - *slot_lsn) : std::nullopt);
  io.if_any("slot_gone_since", slot_gone_since);
  io.if_any("silent_since", silent_since);
  io.if_any("was_covered", was_covered, silent_since.has_value());
}

void members(Io& io, ReceiverView::Certificates& certificates) {
  auto& [client, client_expires, server_expires, problem] = certificates;
  io.if_any("client", client);
  io.if_any("client_expires", client_expires);
  if (client_expires) io.derived("client_expires_in_seconds", until(io.now, *client_expires));
  io.if_any("server_expires", server_expires);
  if (server_expires) io.derived("server_expires_in_seconds", until(io.now, *server_expires));
  io.if_any("problem", problem);
}

void members(Io& io, ReceiverView::Comparison& comparison) {
  auto& [with, problem, timeline, position, bytes, skipped_bytes, differences, difference,
         difference_time] = comparison;
  io.always("with", with);
  io.if_any("problem", problem);
  io.always("timeline", timeline);
  io.or_null("lsn", position);
  io.always("bytes", bytes);
  io.always("skipped_bytes", skipped_bytes);
  io.always("differences", differences);
  io.if_any("difference", difference);
  io.if_any("difference_time", difference_time, difference.has_value());
}

void members(Io& io, archive::ConnectionSsl& ssl) {
  auto& [version, cipher, bits] = ssl;
  io.always("version", version);
  io.always("cipher", cipher);
  io.always("bits", bits);
}

/// The columns of pg_stat_replication, those of pg_stat_ssl, and which timeline it streams.
void members(Io& io, archive::DownstreamClient& client) {
  auto& [pid, user, application_name, client_address, ssl, slot, backend_start, state, timeline,
         sent, write, flush, replay, write_lag, flush_lag, replay_lag, behind, sync_state,
         reply_time, xmin] = client;
  io.always("pid", pid);
  io.always("usename", user);
  io.always("application_name", application_name);
  io.always("client_addr", client_address);
  io.section_or_null("ssl", ssl);
  io.or_null("slot_name", slot);
  io.always("backend_start", backend_start);
  io.or_null("backend_xmin", xmin, xmin != 0);
  io.always("state", state);
  io.always("timeline", timeline);
  io.or_null("sent_lsn", sent);
  io.or_null("write_lsn", write);
  io.or_null("flush_lsn", flush);
  io.or_null("replay_lsn", replay);
  io.or_null("write_lag_ms", write_lag);
  io.or_null("flush_lag_ms", flush_lag);
  io.or_null("replay_lag_ms", replay_lag);
  io.or_null("behind_bytes", behind);
  io.always("sync_state", sync_state);
  io.or_null("reply_time", reply_time);
}

void members(Io& io, archive::ServedCertificate& certificate) {
  auto& [file, expires] = certificate;
  io.always("file", file);
  io.always("expires", expires);
  io.derived("expires_in_seconds", until(io.now, expires));
}

void members(Io& io, archive::ServingProblem& problem) {
  auto& [text, needs_person, since] = problem;
  io.always("text", text);
  io.always("needs_person", needs_person);
  io.always("since", since);
}

/// Not written here: `end`, which a receiver has only with a problem, and slots, which have a query
/// of their own.
void members(Io& io, archive::ServingView& serving) {
  auto& [listens, end, clients, slots, certificate, problem] = serving;
  io.always("listen", listens);
  io.list("clients", clients);
  io.section("serve_certificate", certificate);
  io.section("serve_problem", problem);
}

void members(Io& io, archive::DurableEnd& served) {
  auto& [timeline, flush, write] = served;  // not written: write
  io.required("timeline", timeline);
  io.required("end_lsn", flush);
}

void members(Io& io, archive::Relay& relay) {
  auto& [taken, pid, version, started, serving] = relay;
  io.always("pid", pid);
  io.always("version", version);
  io.always("started", started);
  members(io, serving);
  io.merged(serving.end, {"timeline", "end_lsn"});
  io.whether("has_slots", serving.slots);
}

void members(Io& io, store::StoreView::Manifest& manifest) {
  auto& [chain, lines, head, full_head, is_signed] = manifest;  // not written: full_head
  io.always("chain", chain);
  io.always("lines", lines);
  io.always("head", head);
  io.always("signed", is_signed);
}

void members(Io& io, store::StoreView::Problem& problem) {
  auto& [text, hint, reason, needs_person, since] = problem;
  io.required("last_error", text);
  io.if_any("hint", hint);
  io.always("reason", reason);
  io.always("needs_person", needs_person);
  io.always("since", since);
}

/// Only their sum is written; it is read as failures without a reason.
void failures(Io& io, std::map<std::string, std::uint64_t>& by_reason) {
  std::uint64_t all = 0;
  for (const auto& [reason, count] : by_reason) all += count;
  io.always("failures", all);
  if (io.reads() && all > 0) by_reason[""] = all;
}

void members(Io& io, store::StoreView& view) {
  auto& [store, pending_segments, pending_histories, pending_bytes, next, pending_since, sent_to,
         sent_lsn, stored_end, open_lsn, open_sent, open_objects, sent_files, sent_bytes, failed,
         removed_files, not_compared, sent_again, last_success, manifest, problem, next_try,
         kept_for] = view;  // not written: stored_end's timeline, open_objects
  io.always("store", store);
  io.always("pending_segments", pending_segments);
  io.always("pending_histories", pending_histories);
  io.always("pending_bytes", pending_bytes);
  io.if_any("next", next);
  io.if_any("pending_since", pending_since);
  io.derived("oldest_pending_seconds", view.oldest_pending(io.now));
  io.if_any("sent_to", sent_to);
  io.if_any("sent_lsn", sent_lsn);
  io.merged(stored_end);
  io.if_any("open_lsn", open_lsn);
  io.if_any("open_sent", open_sent);
  io.always("sent_files", sent_files);
  io.always("sent_bytes", sent_bytes);
  failures(io, failed);
  io.always("sent_again", sent_again);
  io.always("removed_files", removed_files);
  io.if_any("not_compared", not_compared, not_compared > 0);
  io.section("manifest", manifest);
  io.if_any("last_success", last_success);
  io.merged(problem, {"last_error"});
  io.if_any("next_try", next_try);
  io.if_any("kept_for", kept_for);
}

void members(Io& io, store::StoredEnd::Position& position) {
  auto& [timeline, end] = position;
  io.required("stored_lsn", end);
}

/// A list for each kind.
void losses(Io& io, std::vector<archive::Loss>& all) {
  for (const auto& kind : archive::Loss::kinds()) {
    std::vector<archive::Loss> of_kind;
    for (const auto& loss : all)
      if (!io.reads() && loss.kind == kind.kind) of_kind.push_back(loss);
    io.list(kind.list, of_kind);
    if (!io.reads()) continue;
    for (auto& loss : of_kind) loss.kind = kind.kind;
    all.insert(all.end(), of_kind.begin(), of_kind.end());
  }
}

void members(Io& io, ReceiverView& view) {
  // Not written: last_stream.
  auto& [taken, pid, version, config, started, state, state_since, disk_full_since, outage_since,
         cut_off_since, server, cluster_name, hosts, silence, stream, last_stream, lag_time,
         lag_at_least, bytes_per_second, archived_bytes, streams, errors, segments_finished,
         slow_syncs, syncs, last_error, last_error_time, lost, slot, slot_warning, slot_view,
         slot_read_at, candidates, certificates, comparison, to_compress, serving, store] = view;
  io.always("pid", pid);
  io.always("version", version);
  // A full disk is written as the state.
  auto shown = io.reads() ? std::string() : view.shown_state();
  auto since = view.shown_state_since();
  io.always("state", shown);
  io.always("state_since", since);
  if (io.reads()) {
    state = shown;
    state_since = since;
    if (shown == "disk full") disk_full_since = since;
  }
  io.if_any("outage_since", outage_since);
  io.if_any("cut_off_since", cut_off_since);
  io.if_any("config", config);
  io.always("started", started);
  io.always("server", server);
  io.if_any("cluster_name", cluster_name);
  io.list_if_any("hosts", hosts);
  io.if_any("silence_ms", silence);
  io.merged(stream);
  if (stream) io.derived("lag_bytes", view.lag());
  io.if_any("lag_ms", lag_time);
  io.if_any("lag_at_least_ms", lag_at_least);
  if (stream && silence) io.derived("last_message", taken - *silence);
  io.if_any("bytes_per_second", bytes_per_second);
  io.always("archived_bytes", archived_bytes);
  io.always("streams", streams);
  io.always("errors", errors);
  io.always("segments_finished", segments_finished);
  io.section("syncs", syncs);
  io.always("slow_syncs", slow_syncs);
  io.if_any("last_error", last_error);
  io.if_any("last_error_time", last_error_time, last_error.has_value());
  losses(io, lost);
  io.if_any("slot", slot);
  io.merged(slot_view);
  io.if_any("slot_checked", slot_read_at, slot_view.has_value());
  io.if_any("slot_warning", slot_warning);
  io.list_if_any("candidates", candidates);
  io.section("certificates", certificates);
  io.section("comparison", comparison);
  io.always("segments_to_compress", to_compress);
  io.merged(serving);
  if (serving && serving->problem) io.section("serve_end", serving->end);
  io.section("store", store);
}

void members(Io& io, Finding& finding) {
  auto& [level, text, topic, public_text, since, commands] = finding;  // not written: public_text
  io.always("level", level);
  io.always("topic", topic);
  io.always("text", text);
  io.if_any("since", since);
  io.derived("hint", words_of(topic).hint);
  io.if_any("commands", commands, !commands.empty());
}

/// Only read: status_json() writes it among others.
void members(Io& io, Summary& summary) {
  auto& [findings, receiver, lag, free_bytes] = summary;
  io.list("findings", findings);
  io.section("receiver", receiver);
  io.if_any("lag_bytes", lag);
  io.if_any("free_bytes", free_bytes);
}

template <typename View>
Json written(View view, SystemTime now) {
  auto json = Json::object();
  Io io(json, now, false);
  members(io, view);
  return json;
}

std::string line_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

template <typename View>
std::optional<View> view_of(std::string_view text, SystemTime now) {
  auto json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  View view;
  Io io(json, now, true);
  members(io, view);
  if constexpr (std::same_as<View, Summary>)
    return io.complete() ? std::optional(std::move(view)) : std::nullopt;
  else
    view.taken = now;
  return view;
}

}  // namespace

Json json_of(const receive::ReceiverView& view) { return written(view, view.taken); }
Json json_of(const archive::Relay& relay) { return written(relay, relay.taken); }
Json json_of(const std::vector<Finding>& findings) {
  auto json = Json::array();
  for (const auto& each : findings) json.push_back(written(each, {}));
  return json;
}

std::string to_json(const receive::ReceiverView& view) { return line_of(json_of(view)); }
std::string to_json(const archive::Relay& relay) { return line_of(json_of(relay)); }

std::optional<receive::ReceiverView> receiver_of(std::string_view json, SystemTime now) {
  return view_of<receive::ReceiverView>(json, now);
}
std::optional<archive::Relay> relay_of(std::string_view json, SystemTime now) {
  return view_of<archive::Relay>(json, now);
}
std::optional<Summary> summary_of(std::string_view json, SystemTime now) {
  return view_of<Summary>(json, now);
}

}  // namespace weir::status
