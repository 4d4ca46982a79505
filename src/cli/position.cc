#include "cli/position.h"

#include <fmt/format.h>

#include <charconv>

#include "archive/listing.h"
#include "base/error.h"

namespace weir::cli {

std::variant<wal::Lsn, wal::SegmentName> parse_position(const std::string& text,
                                                        std::string_view option) {
  if (const auto lsn = wal::Lsn::parse(text)) return *lsn;
  if (const auto file = archive::SegmentFileName::parse(text)) return file->segment;
  throw Error(ErrorKind::usage,
              fmt::format("{} is an LSN or a segment's name, not \"{}\"", option, text))
      .hint("Such as 16/B374D848 or 0000000100000016000000B3.");
}

wal::TimelineId parse_timeline(const std::string& text) {
  wal::TimelineId timeline = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), timeline);
  if (error != std::errc() || end != text.data() + text.size() || timeline == 0)
    throw Error(ErrorKind::usage,
                fmt::format("--timeline is a number from 1 on, not \"{}\"", text));
  return timeline;
}

}  // namespace weir::cli
