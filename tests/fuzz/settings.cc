// Configuration files and command lines, as people write them and as they get broken.

#include <string>
#include <vector>

#include "cli/combinations.h"
#include "cli/commands.h"
#include "cli/options/logical_options.h"
#include "cli/options/receive_options.h"
#include "fuzz.h"

using namespace weir;

namespace {

/// What is wrong is told as an error of usage, and as nothing else.
template <typename Read>
void read_or_refuse(Read read) {
  try {
    read();
  } catch (const Error& error) {
    PGWEIR_CHECK(error.kind() == ErrorKind::usage);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(fuzz::text(data, size));
  for (const auto* command : {&cli::kReceiveCommand, &cli::kLogicalCommand})
    read_or_refuse([&] {
      auto arguments = cli::Arguments::parse(*command, {});
      arguments.add_file("pgweir.conf", text, cli::commands());
      cli::check_combinations(arguments);
      if (command == &cli::kReceiveCommand)
        PGWEIR_CHECK(!cli::read_receive(arguments).options.directory.empty());
      else
        PGWEIR_CHECK(!cli::read_logical(arguments).options.slot.empty());
    });
  std::vector<std::string> words;
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  read_or_refuse([&] {
    static_cast<void>(cli::read_receive(cli::Arguments::parse(cli::kReceiveCommand, words)));
  });
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  std::vector<test::Bytes> inputs;
  for (const auto* text :
       {"directory = /srv/wal\ndbname = host=db1,db2 user=u\nslot = archive\ncompress = zstd:3\n",
        "# all\ndirectory=/a\nflush = 200ms\nstatus-interval = 10s\ntimeout=1min\nno-loop = true\n",
        "[receive]\ndirectory = /srv/wal\n[restore]\npartial = yes\n",
        "directory = /a\non-gap = continue\non-disk-full = stop\napply-position = none\n",
        "-D\n/srv/wal\n-d\nhost=db1\n--compress=zstd\n--start\n16/B374D848\n--endpos\n0/5000000",
        "-D\n/a\n--slot\nx\n--create-slot\n--if-not-exists\n--log-level\ndebug\n-h\n::1\n-p\n5432"})
    inputs.push_back(test::bytes_of(text));
  return inputs;
}
