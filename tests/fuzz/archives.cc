// What may lie in an archive directory: any names, any sizes, any bytes. Everything that looks at
// an archive has to come to an end with an answer or an Error, and cleaning up may only take what
// is ours.

#include <array>
#include <string>

#include "archive/compress.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/resume.h"
#include "archive/sizes.h"
#include "archive/timelines.h"
#include "fuzz.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"
#include "verify/verify.h"

using namespace weir;

namespace {

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

/// The first pages of a sound segment, for contents to begin with.
const test::Bytes& sound_begin() {
  static const test::Bytes begin = [] {
    testing::WalBuilder wal({.start = kSize.start(3)});
    const auto bytes = wal.bytes(kSize.start(3), kSize.start(3) + 3 * 8192);
    return test::Bytes(bytes.begin(), bytes.end());
  }();
  return begin;
}

constexpr std::array<const char*, 18> kNames = {
    "000000010000000000000003",
    "000000010000000000000003.partial",
    "000000010000000000000003.zst",
    "000000010000000000000003.gz",
    "000000010000000000000003.gz.partial",
    "000000010000000000000004.lz4",
    "000000010000000000000004.partial",
    "000000010000000000000005.partial",
    "000000020000000000000004",
    "0000000200000000000000FF.partial",
    "FFFFFFFFFFFFFFFFFFFFFFFF",
    "00000002.history",
    "00000003.history",
    "00000003.history.gz",
    "000000010000000000000002.00000028.backup",
    ".pgweir-spare",
    ".pgweir-000000010000000000000003.zst.tmp",
    "somebody else's",
};

/// One file: name, beginning, size, and bytes of the input over it.
void put_file(sim::SimDisk& disk, std::span<const std::byte>& input) {
  const std::string name = kNames[fuzz::take(input) % kNames.size()];
  const auto shape = fuzz::take(input);
  test::Bytes content;
  if ((shape & 1) != 0) content = sound_begin();
  const std::size_t own = std::min<std::size_t>(fuzz::take(input), input.size());
  const std::size_t at = std::min<std::size_t>(std::size_t{fuzz::take(input)} * 32, content.size());
  if (content.size() < at + own) content.resize(at + own);
  const auto taken = std::min(own, input.size());
  std::copy_n(input.begin(), taken, content.begin() + static_cast<std::ptrdiff_t>(at));
  input = input.subspan(taken);
  switch (shape >> 1 & 3) {
    case 0:
      break;
    case 1:
      content.resize(kSize.bytes());
      break;
    case 2:
      content.resize(kSize.bytes() + 1);
      break;
    default:
      content.resize(content.size() / 2);
  }
  disk.put(name, content);
}

template <typename Call>
void answers(Call call) {
  try {
    call();
  } catch (const Error& error) {
    PGWEIR_CHECK(!error.message().empty());
  }
}

/// A `.partial` whose segment is there whole, compressed: it may go if there is nothing in it.
bool is_finished(const std::string& name, const archive::Listing& listing) {
  const auto partial = archive::SegmentFileName::parse(name);
  return partial && partial->partial &&
         std::any_of(listing.segments.begin(), listing.segments.end(),
                     [&](const archive::SegmentEntry& entry) {
                       return entry.name.segment == partial->segment && !entry.name.partial;
                     });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto input = fuzz::bytes(data, size);
  sim::SimDisk disk;
  for (int i = 0; i < 6 && input.size() > 4; ++i) put_file(disk, input);
  const auto directory = disk.open();
  const auto listing = archive::list_archive(*directory);
  answers([&] { static_cast<void>(archive::read_identity(*directory, listing)); });
  answers([&] { static_cast<void>(archive::find_resume_point(*directory, listing, kSize)); });
  answers([&] {
    auto sound = listing;
    static_cast<void>(archive::skip_wrong_sizes(*directory, sound, kSize));
  });
  answers([&] {
    const auto timelines = archive::Timelines::read(*directory, listing);
    static_cast<void>(archive::coverage(listing, timelines, kSize));
  });
  answers([&] { static_cast<void>(verify::verify(*directory, {})); });

  const auto before = disk.names();
  answers([&] { archive::clean_up(*directory, listing); });
  for (const auto& name : before)
    PGWEIR_CHECK(name.starts_with('.') || disk.exists(name) || is_finished(name, listing));
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  using namespace std::string_view_literals;
  std::vector<test::Bytes> inputs;
  // Name, shape, how many bytes of its own and where, those bytes.
  for (const auto text :
       {"\x01\x01\x00\x00\x06\x03\x00\x00"sv, "\x01\x03\x04\x20zzzz\x00\x03\x00\x00"sv,
        "\x00\x03\x00\x00\x06\x03\x00\x00\x0b\x00\x1e\x00"
        "1\t0/480000\tno reason given\n "sv,
        "\x02\x00\x14\x00(\xb5/\xfd\x24\x00\x01\x00\x00 rest of it"sv,
        "\x03\x01\x08\x00\x1f\x8b\x08zzzzz\x11\x00\x02\x00xx"sv})
    inputs.push_back(test::bytes_of(text));
  return inputs;
}
