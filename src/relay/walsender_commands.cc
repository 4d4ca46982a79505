// A walsender's answers to commands other than streaming.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>
#include <variant>

#include "relay/slots_report.h"
#include "relay/walsender_state.h"
#include "wal/segment.h"
#include "wal/server_version.h"

namespace weir::relay {

namespace {

using wire::ErrorReport;

/// As parsed by defGetBoolean() (commands/define.c).
std::optional<bool> boolean(const std::optional<std::string>& value) {
  if (!value) return true;
  std::string word = *value;
  for (auto& c : word)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (word == "true" || word == "on" || word == "1") return true;
  if (word == "false" || word == "off" || word == "0") return false;
  return std::nullopt;
}

/// As parseCreateReplSlotOptions() in walsender.c: whether WAL must be reserved.
std::variant<bool, ErrorReport> reserves_wal(const std::vector<command::Option>& options) {
  std::optional<bool> reserves;
  for (const auto& option : options) {
    if (option.name == "snapshot" || option.name == "two_phase" ||
        (option.name == "reserve_wal" && reserves))
      return ErrorReport{"42601", "conflicting or redundant options"};
    if (option.name != "reserve_wal")
      return ErrorReport{"XX000", fmt::format("unrecognized option: {}", option.name)};
    reserves = boolean(option.value);
    if (!reserves) return ErrorReport{"42601", "reserve_wal requires a Boolean value"};
  }
  return reserves.value_or(false);
}

/// As a server shows a size that is a power of two: "16MB", "1GB".
std::string segment_size_text(wal::SegmentSize size) {
  constexpr std::uint64_t kGb = std::uint64_t{1} << 30;
  return size.bytes() % kGb == 0 ? fmt::format("{}GB", size.bytes() / kGb)
                                 : fmt::format("{}MB", size.bytes() >> 20);
}

/// As a server shows a time: in the largest unit that it fits.
std::string time_text(std::chrono::milliseconds time) {
  if (time.count() % 60'000 == 0) return fmt::format("{}min", time.count() / 60'000);
  if (time.count() % 1'000 == 0) return fmt::format("{}s", time.count() / 1'000);
  return fmt::format("{}ms", time.count());
}

}  // namespace

void WalsenderState::run(const command::IdentifySystem&, const Served& served, Now) {
  const auto timeline = wal::ServerVersion(options_.cluster.major).has_wide_timeline()
                            ? wire::int8_column("timeline")
                            : wire::int4_column("timeline");
  const std::array columns = {wire::text_column("systemid"), timeline, wire::text_column("xlogpos"),
                              wire::text_column("dbname")};
  const std::array<std::optional<std::string>, 4> values = {
      std::to_string(options_.cluster.system_identifier), std::to_string(served.timeline()),
      served.end.to_string(), std::nullopt};
  row(columns, values);
  complete("IDENTIFY_SYSTEM");
  wire::append_ready(output_.text());
}

void WalsenderState::run(const command::Show& command, const Served&, Now) {
  if (command.name == kSlotsSetting) return ask_slots(slot_question::List{});
  const auto& cluster = options_.cluster;
  const std::pair<std::string_view, std::string> settings[] = {
      {"application_name", options_.application_name},
      {"client_encoding", "UTF8"},
      {"cluster_name", ""},  // not known of the archive
      // Clients that create files from the received data make them accessible only to themselves.
      {"data_directory_mode", "0700"},
      {"default_transaction_read_only", "off"},
      {"in_hot_standby", "on"},
      {"integer_datetimes", "on"},
      {"server_encoding", "UTF8"},
      {"server_version", cluster.server_version()},
      {"server_version_num", std::to_string(cluster.server_version_num())},
      {"standard_conforming_strings", "on"},
      {"transaction_read_only", "on"},
      {"wal_block_size", "8192"},
      {"wal_segment_size", segment_size_text(cluster.segment_size)},
      {"wal_sender_timeout", time_text(options_.timeout)},
  };
  for (const auto& [name, value] : settings) {
    if (name != command.name) continue;
    const std::array columns = {wire::text_column(name)};
    const std::array<std::optional<std::string>, 1> values = {value};
    row(columns, values);
    complete("SHOW");
    return wire::append_ready(output_.text());
  }
  fail({"42704", fmt::format("unrecognized configuration parameter \"{}\"", command.name)});
}

void WalsenderState::run(const command::TimelineHistory& command, const Served&, Now) {
  asked_history_ = command.timeline;
  doing_ = Doing::history;
}

void WalsenderState::on_history(const std::optional<std::string>& content) {
  doing_ = Doing::commands;
  const auto name = wal::history_name(asked_history_);
  const std::array columns = {wire::text_column("filename"), wire::text_column("content")};
  wire::append_row_description(output_.text(), columns);
  // In this order (SendTimeLineHistory()).
  if (!content)
    return fail({"58P01", fmt::format("could not open file \"pg_wal/{}\": No such file or "
                                      "directory",
                                      name)});
  wire::append_data_row(output_.text(),
                        std::array<std::optional<std::string>, 2>{std::string(name), *content});
  complete("TIMELINE_HISTORY");
  wire::append_ready(output_.text());
}

// --- Slots ---------------------------------------------------------------------------------------

void WalsenderState::run(const command::ReadSlot& command, const Served&, Now) {
  ask_slots(slot_question::Read{command.slot});
}

void WalsenderState::run(const command::CreateSlot& command, const Served& served, Now) {
  if (command.plugin) return fail({"0A000", "logical decoding cannot be used while in recovery"});
  const auto reserves = reserves_wal(command.options);
  if (const auto* report = std::get_if<ErrorReport>(&reserves)) return fail(*report);
  // A server reserves WAL from its last checkpoint on, where a base backup taken now may start.
  // There is no checkpoint here; the archive's WAL before this segment is only removed by "pgweir
  // prune", which knows the backups.
  const auto& size = options_.cluster.segment_size;
  ask_slots(slot_question::Create{
      command.slot, command.temporary,
      std::get<bool>(reserves) ? size.start(size.segno(served.end)) : wal::Lsn()});
}

void WalsenderState::run(const command::DropSlot& command, const Served&, Now) {
  waits_for_slot_ = command.wait;
  ask_slots(slot_question::Drop{command.slot});
}

void WalsenderState::ask_slots(SlotQuestion question) {
  question_ = std::move(question);
  doing_ = Doing::slots;
}

void WalsenderState::on_slots(const SlotAnswer& answer, const Served& served, Now now) {
  constexpr auto kAskAgain = std::chrono::milliseconds(100);
  doing_ = Doing::commands;
  if (const auto* report = std::get_if<ErrorReport>(&answer)) return fail(*report);
  if (const auto* busy = std::get_if<slot_answer::Busy>(&answer)) {
    if (!std::holds_alternative<slot_question::Drop>(question_) || !waits_for_slot_)
      return fail(busy->report);
    ask_again_ = now.time + kAskAgain;
    doing_ = Doing::busy;
    return;
  }
  if (std::holds_alternative<slot_question::Use>(question_)) {
    makes_slot_ = std::holds_alternative<slot_answer::ToMake>(answer);
    // A start that was waited for has sent its copy response before it had its slot.
    return copying_ ? begin_stream(now) : start(to_start_, served, now);
  }
  if (std::holds_alternative<slot_question::Read>(question_)) return answer_read(answer, served);
  if (const auto* const made = std::get_if<slot_question::Create>(&question_)) {
    const std::array columns = {
        wire::text_column("slot_name"), wire::text_column("consistent_point"),
        wire::text_column("snapshot_name"), wire::text_column("output_plugin")};
    // (The point is confirmed_flush, which a physical slot never has.)
    row(columns,
        std::array<std::optional<std::string>, 4>{made->name, "0/0", std::nullopt, std::nullopt});
    complete("CREATE_REPLICATION_SLOT");
  } else if (const auto* const listed = std::get_if<slot_answer::Listed>(&answer)) {
    row(std::array{wire::text_column(kSlotsSetting)},
        std::array<std::optional<std::string>, 1>{listed->json});
    complete("SHOW");
  } else {
    complete("DROP_REPLICATION_SLOT");
  }
  wire::append_ready(output_.text());
}

void WalsenderState::answer_read(const SlotAnswer& answer, const Served& served) {
  const std::array columns = {wire::text_column("slot_type"), wire::text_column("restart_lsn"),
                              wire::int8_column("restart_tli")};
  std::array<std::optional<std::string>, 3> values;
  if (const auto* found = std::get_if<slot_answer::Found>(&answer)) {
    values[0] = "physical";
    // "0/0" is something that pg_receivewal cannot read.
    if (found->restart_lsn != wal::Lsn()) {
      values[1] = found->restart_lsn.to_string();
      values[2] = std::to_string(served.history.timeline_of(found->restart_lsn));
    }
  }
  row(columns, values);
  complete("READ_REPLICATION_SLOT");
  wire::append_ready(output_.text());
}

void WalsenderState::run(const command::StartLogical&, const Served&, Now) {
  fail({"0A000", "logical decoding cannot be used while in recovery"});
}

void WalsenderState::run(const command::BaseBackup& command, const Served&, Now) {
  if (options_.has_backups) {
    backup_ = command.text;
    doing_ = Doing::backup;
    return;
  }
  fail({"0A000", "BASE_BACKUP is not supported",
        "This is pgweir, which serves an archive of WAL. It has no data directory.",
        "Take the base backup from a server and let the standby stream from here, or start this "
        "relay with --serve-base-backup."});
}

void WalsenderState::run(const command::Sql&, const Served&, Now) {
  fail({"0A000", "cannot execute SQL commands in WAL sender for physical replication"});
}

}  // namespace weir::relay
