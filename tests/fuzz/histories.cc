// Timeline history files: whatever is accepted must be a history that answers consistently.

#include "fuzz.h"
#include "wal/timeline_history.h"

using namespace weir;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto input = fuzz::bytes(data, size);
  const wal::TimelineId timeline = fuzz::take(input);
  const auto history = wal::TimelineHistory::parse(timeline, test::text_of(input));
  if (!history) return 0;
  PGWEIR_CHECK(history->timeline() == timeline && !history->ancestors().empty());
  PGWEIR_CHECK(history->contains(timeline) && !history->end_of(timeline));
  wal::TimelineId before = 0;
  for (const auto& ancestor : history->ancestors()) {
    PGWEIR_CHECK(ancestor.timeline > before && ancestor.timeline < timeline);
    before = ancestor.timeline;
    PGWEIR_CHECK(ancestor.switchpoint.valid());
    PGWEIR_CHECK(history->contains(ancestor.timeline));
    PGWEIR_CHECK(history->end_of(ancestor.timeline) == ancestor.switchpoint);
    const auto next = history->successor_of(ancestor.timeline);
    PGWEIR_CHECK(next && history->begin_of(*next) == ancestor.switchpoint);
    PGWEIR_CHECK(history->contains(history->timeline_of(ancestor.switchpoint)));
  }
  PGWEIR_CHECK(!history->successor_of(timeline));
  PGWEIR_CHECK(history->timeline_of(wal::Lsn(UINT64_MAX)) == timeline);
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  std::vector<test::Bytes> inputs;
  for (const auto* text :
       {"\x02"
        "1\t0/3000148\tno recovery target specified\n",
        "\x09"
        "1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tbefore 2026-11-20\n"
        "# a comment\n7\t16/B374D848\tat restore point \"x\"\n",
        "\x03"
        "1\t0/3000148\tx\r\n  2 FFFFFFFF/FFFFFFFF y",
        "\x02"
        "1\t0/0\tx\n",
        "\x02\n# only\n"})
    inputs.push_back(test::bytes_of(text));
  return inputs;
}
