// Messages of the copy stream: decoded or refused as a protocol error, never read past their end.

#include <cstring>

#include "fuzz.h"
#include "wire/copy_messages.h"

using namespace weir;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size: the address sanitizer sees a byte too far.
  const test::Bytes message(fuzz::bytes(data, size).begin(), fuzz::bytes(data, size).end());
  const auto decoded = wire::decode_from_server(message);
  if (const auto* wal = std::get_if<wire::XLogData>(&decoded)) {
    PGWEIR_CHECK(wal->wal.size() <= message.size());
    PGWEIR_CHECK(wal->wal.empty() ||
                 (wal->wal.data() >= message.data() &&
                  wal->wal.data() + wal->wal.size() <= message.data() + message.size()));
    PGWEIR_CHECK(wal->start + wal->wal.size() >= wal->start);
  } else if (const auto* error = std::get_if<Error>(&decoded)) {
    PGWEIR_CHECK(error->kind() == ErrorKind::protocol);
  }
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  std::vector<test::Bytes> inputs;
  for (const std::size_t wal : {0, 1, 200}) {
    test::Bytes message{std::byte{'w'}};
    message.resize(1 + 24 + wal, std::byte{3});
    inputs.push_back(message);
  }
  test::Bytes keepalive{std::byte{'k'}};
  keepalive.resize(1 + 17, std::byte{1});
  inputs.push_back(keepalive);
  inputs.push_back(test::bytes_of(wire::encode({wal::Lsn(1), wal::Lsn(2), wal::Lsn(3)}, 4)));
  return inputs;
}
