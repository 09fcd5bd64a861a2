# SPDX-License-Identifier: MPL-2.0
# Reduces a CycloneDX list to the crates that are in one binary: see packaging/deb. $crates has a line
# for each of them, as cargo tree prints it ("tokio v1.50.0: MIT"). $folder is the folder of the
# source.
([$crates | splits("\n") | select(. != "") | split(":")[0] | split(" ") | .[0] + "@" + .[1][1:]]
    | unique) as $inside
| def inside: .name + "@" + .version | IN($inside[]);
  .components |= map(select(inside))
| ([.components[]["bom-ref"]] + [.metadata.component["bom-ref"]]) as $refs
| .dependencies |= map(select(.ref | IN($refs[])))
| .dependencies |= map(if has("dependsOn") then .dependsOn |= map(select(IN($refs[]))) else . end)
| walk(if type == "string" then split("file://" + $folder) | join("file:///build") else . end)
# The binary itself is in cargo tree's list, and is no component of the list.
| ($inside | length) as $expected
| if (.components | length) + 1 == $expected then .
  else error("\(.components | length) crates listed, \($expected - 1) in the binary") end
