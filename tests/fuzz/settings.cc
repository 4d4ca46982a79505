// Configuration files and command lines, as people write them and as they get broken.

#include <string>
#include <vector>

#include "cli/receive_options.h"
#include "fuzz.h"

using namespace weir;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(fuzz::text(data, size));
  try {
    const auto request =
        cli::parse_receive({"-c", "pgweir.conf"}, [&text](const std::string&) { return text; });
    PGWEIR_CHECK(request.help || !request.options.directory.empty());
  } catch (const Error& error) {
    PGWEIR_CHECK(error.kind() == ErrorKind::usage);
  }
  std::vector<std::string> words;
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  try {
    static_cast<void>(cli::parse_receive(words, [](const std::string&) { return std::string(); }));
  } catch (const Error& error) {
    PGWEIR_CHECK(error.kind() == ErrorKind::usage);
  }
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
