#include "cli/values.h"

#include <fmt/format.h>

#include "archive/listing.h"
#include "base/text.h"
#include "base/units.h"
#include "cli/options/connection_options.h"
#include "pq/conninfo.h"

namespace weir::cli {

namespace {

Error wrong(std::string reason) { return Error(ErrorKind::usage, std::move(reason)); }

}  // namespace

std::chrono::milliseconds parse_time(const std::string& text, Milliseconds least,
                                     Milliseconds most) {
  const auto time = parse_duration(text);
  if (!time)
    throw wrong("not a time with a unit").hint("Give it as in 500ms, 10s, 5min, 2h or 14d.");
  if (time->count() < least || time->count() > most) {
    const auto from = format_duration(std::chrono::milliseconds(least));
    throw wrong("").hint(most == kAnyTime && time->count() < least
                             ? fmt::format("It must be {} or longer.", from)
                             : fmt::format("It must be from {} to {}.", from,
                                           format_duration(std::chrono::milliseconds(most))));
  }
  return *time;
}

std::uint64_t parse_count(const std::string& text, std::uint64_t least, std::uint64_t most) {
  const auto number = parse_number<std::uint64_t>(text);
  if (!number || *number < least || *number > most)
    throw wrong(most == std::numeric_limits<std::uint64_t>::max()
                    ? fmt::format("not a number from {} on", least)
                    : fmt::format("not a number from {} to {}", least, most));
  return *number;
}

std::uint64_t size_value(const std::string& text) {
  const auto size = parse_size(text);
  if (!size) throw wrong("not a size with a unit").hint("Give it as in 64MB or 1GB.");
  return *size;
}

std::uint64_t some_size_value(const std::string& text) {
  const auto size = size_value(text);
  if (size == 0) throw wrong("").hint("It must be larger than 0.");
  return size;
}

wal::Lsn lsn_value(const std::string& text) {
  const auto lsn = wal::Lsn::parse(text);
  if (!lsn) throw wrong("not an LSN").hint("Give it as in 16/B374D848.");
  return *lsn;
}

wal::Lsn valid_lsn_value(const std::string& text) {
  const auto lsn = lsn_value(text);
  if (!lsn.valid()) throw wrong("0/0 is not a position in the WAL");
  return lsn;
}

std::variant<wal::Lsn, wal::SegmentName> position_value(const std::string& text) {
  if (const auto lsn = wal::Lsn::parse(text)) return *lsn;
  if (const auto file = archive::SegmentFileName::parse(text)) return file->segment;
  throw wrong("neither an LSN nor a segment's name")
      .hint("Give it as in 16/B374D848 or 0000000100000016000000B3.");
}

wal::TimelineId timeline_value(const std::string& text) {
  return static_cast<wal::TimelineId>(
      parse_count(text, 1, std::numeric_limits<wal::TimelineId>::max()));
}

unsigned jobs_value(const std::string& text) {
  constexpr unsigned kMost = 1024;
  try {
    return static_cast<unsigned>(parse_count(text, 1, kMost));
  } catch (Error& error) {
    throw std::move(error).hint("Leave it out to use all processors.");
  }
}

std::string slot_value(const std::string& text) {
  constexpr std::size_t kLongest = 63;  // NAMEDATALEN - 1
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789_";
  if (text.empty() || text.size() > kLongest ||
      text.find_first_not_of(kLetters) != std::string::npos)
    throw wrong("invalid slot name")
        .hint("A name has 1 to 63 lower-case letters, digits and underscores.");
  return text;
}

std::string conninfo_value(const std::string& text) {
  static_cast<void>(pq::parse_conninfo(text));
  return text;
}

std::string database_value(const std::string& text) {
  return is_connection_string(text) ? conninfo_value(text) : text;
}

std::string metrics_file_value(const std::string& text) {
  if (!text.ends_with(".prom"))
    throw wrong("its name does not end with .prom").hint("node_exporter reads only such files.");
  return text;
}

void throw_no_choice(std::string_view words) {
  throw wrong("").hint(fmt::format("It can be: {}.", words));
}

}  // namespace weir::cli
