// Names of files: what is read as a name must be written as the same name again.

#include "archive/listing.h"
#include "archive/own_names.h"
#include "fuzz.h"
#include "wal/segment.h"

using namespace weir;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::text(data, size);
  if (const auto name = archive::SegmentFileName::parse(text))
    PGWEIR_CHECK(name->to_string() == text);
  if (const auto name = wal::SegmentName::parse(text)) {
    PGWEIR_CHECK(name->to_string() == text);
    for (std::uint64_t bytes = 1 << 20; bytes <= 1 << 30; bytes *= 2) {
      const auto segment_size = *wal::SegmentSize::of(bytes);
      if (!name->fits(segment_size)) continue;
      PGWEIR_CHECK(wal::SegmentName(name->timeline(), name->segno(segment_size), segment_size) ==
                   *name);
    }
  }
  if (const auto timeline = wal::parse_history_name(text))
    PGWEIR_CHECK(wal::history_name(*timeline) == text);
  static_cast<void>(archive::is_own_hidden_name(text));
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  std::vector<test::Bytes> inputs;
  for (const auto* text :
       {"000000010000000000000003", "000000010000000A000000FF.zst", "FFFFFFFFFFFFFFFFFFFFFFFF.gz",
        "000000010000000000000003.lz4.partial", "000000010000000000000003.partial",
        "00000002.history", "00000002.history.gz", "000000010000000000000002.00000028.backup",
        ".pgweir-spare", ".pgweir-000000010000000000000003.zst.tmp"})
    inputs.push_back(test::bytes_of(text));
  return inputs;
}
